//! The page about the options, made from their definitions: `docs/configuration.md` is what this
//! test writes when `UPDATE_DOCS` is set, and otherwise compares.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use dqn_scaler::cli::Cli;
use dqn_scaler::config::{Group, OptionSpec, groups};

const UPDATE: &str = "UPDATE_DOCS=1 cargo test --release --locked --test configuration_page";

const INTRODUCTION: &str = "\
# Configuration

This page is made from the definitions in the code. A test compares it with them. To write it anew:
";

const SOURCES: &str = "\
## Where options come from

The later wins:

| source | for example |
|---|---|
| the default | in the tables below |
| a YAML file, named by `--config` or `CONFIG` | `scale_factor: 0.3` |
| the environment | `SCALE_FACTOR=0.3` |
| the command line | `--scale-factor 0.3` |
| `POST /config`, for options that can change at run time | `{\"scale_factor\": 0.3}` |

- A wrong value stops the start, or is answered with 400, and the message names the option. So does
  a name in the file that is no option.
- In the environment and on the command line lists are separated by commas, and labels are
  `key=value,key=value`. In YAML and JSON they are arrays and objects.
- A switch is `true`, `1`, `yes` or `on`, or `false`, `0`, `no` or `off`. A flag alone means `true`.
- What has changed at run time can [outlive the process](state.md). What is no longer valid then is
  left out, with a warning in the log.
- `GET /config` answers with what holds now.
";

const PROCESS: &str = "
## The process

Where it listens, which cluster it lives on, what it keeps and who leads. These options have no name
in the YAML file and cannot change at run time.

";

#[test]
fn the_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (is, wanted)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(is, wanted, "docs/configuration.md:{}: run {UPDATE}", number + 1);
    }
    assert!(written == page, "docs/configuration.md has another end: run {UPDATE}");
}

fn page() -> String {
    let mut cli = Cli::command();
    cli.build();
    let groups = groups();
    let configured: HashSet<_> =
        groups.iter().flat_map(|group| &group.options).map(|option| option.name).collect();
    let mut page = format!("{INTRODUCTION}\n```sh\n{UPDATE}\n```\n\n{SOURCES}");
    let serve = cli.find_subcommand("serve").unwrap();
    for group in &groups {
        page += &of_group(group, serve);
    }
    page += PROCESS;
    let process =
        serve.get_arguments().filter(|argument| !configured.contains(argument.get_id().as_str()));
    page += &of_arguments(process);
    page += "\nThe variable `RUST_LOG` chooses which lines are logged, `info` unless it is set.\n";
    page += "\n## The command line\n\n\
        Without a subcommand `dqn-scaler` serves. `--log-format` goes with each subcommand.\n";
    of_subcommands(&mut page, &cli);
    page
}

fn of_group(group: &Group, serve: &Command) -> String {
    let mut text = format!(
        "\n## {}\n\n{}\n\n\
        | option | flag | environment | default | range | at run time | meaning |\n\
        |---|---|---|---|---|---|---|\n",
        group.title, group.about
    );
    for option in &group.options {
        let argument = serve.get_arguments().find(|argument| id(argument) == option.name);
        let argument = argument.unwrap();
        let OptionSpec { name, variable, default, help, .. } = option;
        let range = option.range().unwrap_or_else(|| choices(argument));
        let at_run_time = if option.at_run_time() { "yes" } else { "" };
        row(
            &mut text,
            &[
                &format!("`{name}`"),
                &flag(argument),
                &format!("`{variable}`"),
                &if default.is_empty() { "unset".to_owned() } else { listed(default) },
                &range,
                at_run_time,
                help,
            ],
        );
    }
    text
}

fn of_arguments<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = String::from(
        "| flag | environment | default | values | meaning |\n|---|---|---|---|---|\n",
    );
    for argument in arguments.filter(|argument| !["help", "version"].contains(&id(argument))) {
        let variable = argument.get_env().map(|name| format!("`{}`", name.display()));
        let defaults =
            argument.get_default_values().iter().map(|value| value.display().to_string());
        let default = match defaults.collect::<Vec<_>>().join(",") {
            _ if argument.is_required_set() => "must be given".to_owned(),
            default if default.is_empty() => "unset".to_owned(),
            default => listed(&default),
        };
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let variable = variable.unwrap_or_default();
        row(&mut text, &[&flag(argument), &variable, &default, &choices(argument), &help]);
    }
    text
}

fn of_subcommands(page: &mut String, command: &Command) {
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help")
    {
        let about = subcommand.get_about().map(ToString::to_string).unwrap_or_default();
        let path = subcommand.get_bin_name().unwrap_or_default();
        if subcommand.has_subcommands() {
            of_subcommands(page, subcommand);
            continue;
        }
        write!(page, "\n### {path}\n\n{about}.\n").unwrap();
        if subcommand.get_name() == "serve" {
            *page += "\nIts flags are those in the tables above.\n";
            continue;
        }
        let own = subcommand.get_arguments().filter(|argument| !argument.is_global_set());
        write!(page, "\n{}", of_arguments(own)).unwrap();
    }
}

fn id(argument: &Arg) -> &str {
    argument.get_id().as_str()
}

fn flag(argument: &Arg) -> String {
    match argument.get_long() {
        Some(long) => format!("`--{long}`"),
        None => format!("`{}`", id(argument).to_uppercase()),
    }
}

/// The names that its value is one of.
fn choices(argument: &Arg) -> String {
    let values = argument.get_possible_values();
    let names: Vec<_> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    names.join(", ")
}

/// A long list can be broken between its entries.
fn listed(value: &str) -> String {
    format!("`{}`", value.replace(',', "`, `"))
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(text, "| {} |", cells.join(" | ")).unwrap();
}
