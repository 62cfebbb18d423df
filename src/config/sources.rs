//! Where a configuration comes from at the start: defaults, a YAML file, the environment and the
//! command line.

use std::path::Path;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::declare::OptionSpec;
use super::error::ConfigError;
use super::options::{Config, ConfigOverrides, groups};
use super::origins::{Origin, Origins};
use crate::files;

impl Config {
    /// Defaults, then the file, then what the environment and the command line say.
    pub(crate) fn load(
        file: Option<&Path>,
        environment_and_flags: ConfigOverrides,
    ) -> Result<(Self, Origins), ConfigError> {
        let (mut config, mut origins) = (Self::default(), Origins::default());
        if let Some(path) = file {
            let said = read(path)?;
            origins.note(said.names(), Origin::File);
            said.apply(&mut config);
        }
        origins.note(environment_and_flags.names(), Origin::Environment);
        origins.note(environment_and_flags.flags.iter().copied(), Origin::CommandLine);
        environment_and_flags.apply(&mut config);
        config.validate()?;
        Ok((config, origins))
    }
}

fn read(path: &Path) -> Result<ConfigOverrides, ConfigError> {
    let fault = |error: String| ConfigError::File(format!("{}: {error}", path.display()));
    let text = files::read_text(path, files::SMALL).map_err(|error| fault(error.to_string()))?;
    // An empty file says nothing, and that is fine.
    let overrides: Option<ConfigOverrides> =
        serde_norway::from_str(&text).map_err(|error| fault(error.to_string()))?;
    Ok(overrides.unwrap_or_default())
}

impl Args for ConfigOverrides {
    fn augment_args(command: Command) -> Command {
        groups().into_iter().fold(command, |command, group| {
            let arguments =
                group.options.iter().map(|option| option.argument().help_heading(group.title));
            command.args(arguments)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl OptionSpec {
    fn argument(&self) -> Arg {
        let help = self.help.trim_end_matches('.');
        let default = match self.default.as_str() {
            "" => String::new(),
            default => format!(" [default: {default}]"),
        };
        let argument = Arg::new(self.name)
            .long(self.name.replace('_', "-"))
            .env(self.variable)
            .value_name(self.variable)
            .help(help.replace('`', "") + &default);
        (self.argument)(argument)
    }
}

impl FromArgMatches for ConfigOverrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::take(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        overrides: ConfigOverrides,
    }

    fn load(file: &str, flags: &[&str]) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let flags = Cli::try_parse_from([&["x"], flags].concat());
        let overrides = flags.map_err(|error| error.to_string())?.overrides;
        let loaded = Config::load(Some(&path), overrides);
        loaded.map(|(config, _)| config).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_the_documented_ones_and_valid() {
        let json = json!(load("", &[]).unwrap());
        assert_eq!(json["scaling_cooldown"], 30);
        assert_eq!(json["min_memory"], 20);
        assert_eq!(json["excluded_deployments"].as_array().unwrap().len(), 5);
    }

    #[test]
    fn the_later_source_wins() {
        let file = "scale_factor: 0.3\nauto_scale_interval: 45\nexcluded_labels: {tier: cache}\n";
        let config = load(file, &["--auto-scale-interval", "60"]).unwrap();
        let values = (config.scale_factor, config.auto_scale_interval, config.scaling_cooldown);
        assert_eq!(values, (0.3, 60, 30));
        assert_eq!(config.excluded_labels, BTreeMap::from([("tier".into(), "cache".into())]));
    }

    #[test]
    fn each_setting_knows_where_it_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "scale_factor: 0.3\nmin_cpu: 0.2\n").unwrap();
        let flags = Cli::try_parse_from(["x", "--min-cpu", "0.3"]).unwrap().overrides;
        let (_, origins) = Config::load(Some(&path), flags).unwrap();
        let of = ["scale_factor", "min_cpu", "max_cpu"].map(|name| origins.of(name));
        assert_eq!(of, [Origin::File, Origin::CommandLine, Origin::Default]);
    }

    #[test]
    fn null_in_a_file_says_nothing() {
        let config = load("min_cpu: null\nwrite_token_file: null\ntls_cert:\n", &[]).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn flags_are_read() {
        let flags = [
            "--dry-run=False",
            "--emergency-scale-up",
            "--in-cluster",
            "--namespaces",
            "a, b",
            "--namespaces=c",
            "--excluded-labels",
            "app=redis, tier = cache,",
            "--pod-metrics=pod",
            "--tls-cert=tls.crt",
            "--tls-key=tls.key",
        ];
        let config = load("emergency_scale_up: false", &flags).unwrap();
        assert_eq!((config.dry_run, config.emergency_scale_up), (false, true));
        assert_eq!(config.in_cluster, Some(true));
        assert_eq!(config.namespaces, ["a", "b", "c"]);
        assert_eq!(config.excluded_labels["tier"], "cache");
        assert_eq!(json!(config)["pod_metrics"], "pod");
        assert_eq!(config.tls_key.as_deref(), Some(Path::new("tls.key")));
        for bad in ["--dry-run=maybe", "--excluded-labels=redis", "--scale-factor=x", "--min-cpu"] {
            assert!(load("", &[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bad_file_or_value_is_named() {
        for (text, named) in [
            ("scale_factr: 0.3", "scale_factr"),
            ("scale_factor: much", "scale_factor"),
            ("scale_factor: 1.5", "scale_factor: must be above 0 and below 1"),
            ("namespaces: []", "namespaces: must name at least one namespace"),
            ("namespaces: [Bad_Name]", "\"Bad_Name\" is not a valid namespace name"),
            ("min_cpu: 9", "max_cpu: must not be below min_cpu"),
            ("scaling_cooldown: -1", "scaling_cooldown"),
            ("scaling_cooldown: 1441", "scaling_cooldown: must be from 0 to 1440 minutes"),
            ("action_dim: 4", "action_dim: must be 3: DECREASE, MAINTAIN and INCREASE"),
            ("resize_concurrency: 0", "resize_concurrency: must be from 1 to 256"),
            ("pod_metrics: all", "pod_metrics"),
            ("cors_origins: []", "cors_origins: must name at least one origin"),
            ("cors_origins: [https://a.example/]", "https://a.example/"),
            ("cors_origins: [a.example]", "a.example"),
            ("tls_cert: tls.crt", "tls_key"),
            ("allowed_namespaces: ['']", "allowed_namespaces"),
            ("allowed_namespaces: [shop]", "\"default\" is not among allowed_namespaces"),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
        let missing = Config::load(Some(Path::new("/no/such/file.yaml")), Default::default());
        assert!(missing.unwrap_err().to_string().contains("/no/such/file.yaml"));
    }

    #[test]
    fn every_option_can_be_given_by_its_flag() {
        let defaults = json!(Config::default());
        for option in groups().into_iter().flat_map(|group| group.options) {
            assert!(defaults.get(option.name).is_some(), "{}", option.name);
            if !option.default.is_empty() {
                let flag = format!("--{}={}", option.name.replace('_', "-"), option.default);
                assert_eq!(json!(load("", &[&flag]).unwrap()), defaults, "{flag}");
            }
        }
    }
}
