//! How options are declared, and what is made of the declarations.

use clap::Arg;
use serde_json::Value;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use super::allowed::Allowed;

/// Options that belong together.
pub struct Group {
    pub title: &'static str,
    pub about: String,
    pub options: Vec<OptionSpec>,
}

/// What is known of an option, whatever its type.
pub struct OptionSpec {
    /// In the YAML file and in JSON.
    pub name: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    pub help: String,
    /// As the environment would write it; empty: unset.
    pub default: String,
    pub(super) allowed: Option<Allowed>,
    /// What `POST /config` may set it to, for example, if it may.
    pub(super) example: Option<Value>,
    pub(super) argument: fn(Arg) -> Arg,
    pub(super) schema: fn() -> RefOr<Schema>,
}

impl OptionSpec {
    /// Whether `POST /config` may change it.
    pub fn at_run_time(&self) -> bool {
        self.example.is_some()
    }

    /// The values that are allowed, where its type does not say it all.
    pub fn range(&self) -> Option<String> {
        self.allowed.as_ref().map(ToString::to_string)
    }
}

/// Makes the structs and the functions that name every option from one list of groups:
///
/// ```text
/// "Title of the group": {
///     /// What it means.
///     name: Type = default, env "VARIABLE", within allowed, runtime example;
/// }
/// ```
///
/// The flag is the name with dashes. `within` and `runtime` may be left out; `runtime` says that
/// `POST /config` may change the option, for example to the value after it.
macro_rules! options {
    ($(
        $(#[doc = $about:literal])+
        $title:literal: {
            $(
                $(#[doc = $help:literal])+
                $(#[serde $serde:tt])?
                $name:ident: $type:ty = $default:expr, env $variable:literal
                    $(, within $allowed:expr)? $(, runtime $example:tt)?;
            )+
        }
    )+) => {
        /// The options of the service. `GET /config` answers with them, the documented ones first.
        #[derive(Debug, Clone, PartialEq, Serialize)]
        pub struct Config {
            $($(
                $(#[doc = $help])+
                $(#[serde $serde])?
                pub $name: $type,
            )+)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($($name: $default,)+)+ }
            }
        }

        impl Config {
            /// Checks each option by itself.
            pub(super) fn check_each(&self) -> Result<(), ConfigError> {
                $($($(
                    $allowed
                        .check(&self.$name)
                        .map_err(|message| ConfigError::field(stringify!($name), message))?;
                )?)+)+
                Ok(())
            }
        }

        /// What one source says: a file, or the environment and the command line together. What it
        /// does not name stays.
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct ConfigOverrides {
            $($(pub(super) $name: Option<$type>,)+)+
            /// Those of the command line rather than of the environment.
            #[serde(skip)]
            pub(super) flags: BTreeSet<&'static str>,
        }

        impl ConfigOverrides {
            pub(super) fn take(matches: &mut ArgMatches) -> Self {
                let names = [$($(stringify!($name)),+),+];
                let flags = names.into_iter().filter(|name| {
                    matches.value_source(name) == Some(ValueSource::CommandLine)
                });
                let flags = flags.collect();
                Self { flags, $($($name: <$type>::given(matches, stringify!($name)),)+)+ }
            }

            /// The options that it says something of.
            pub(super) fn names(&self) -> Vec<&'static str> {
                let given = [$($((stringify!($name), self.$name.is_some())),+),+];
                given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
            }

            pub(super) fn apply(self, config: &mut Config) {
                $($(set(&mut config.$name, self.$name);)+)+
            }
        }

        /// The fields that can be changed while the service runs, each of them optional.
        #[derive(Debug, Default, Serialize, Deserialize)]
        pub struct ConfigUpdate {
            $($($(
                #[doc = concat!("For example `", stringify!($example), "`.")]
                #[serde(default, deserialize_with = "field")]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(super) $name: Option<$type>,
            )?)+)+
            /// Fields that are not known, or cannot be changed.
            #[serde(flatten)]
            pub(super) ignored: Map<String, Value>,
        }

        impl ConfigUpdate {
            pub(super) fn apply(self, config: &mut Config) {
                $($($(keep!($example => set(&mut config.$name, self.$name));)?)+)+
            }
        }

        /// Every option, in the order of the JSON.
        pub fn groups() -> Vec<Group> {
            let config = Config::default();
            vec![$(Group {
                title: $title,
                about: joined(&[$($about),+]),
                options: vec![$(OptionSpec {
                    name: stringify!($name),
                    variable: $variable,
                    help: joined(&[$($help),+]),
                    default: config.$name.text(),
                    allowed: None$(.or(Some($allowed)))?,
                    example: None$(.or(Some(json!($example))))?,
                    argument: <$type>::argument,
                    schema: <$type>::json_schema,
                }),+],
            }),+]
        }
    };
}

/// The second, for options that have the first.
macro_rules! keep {
    ($example:tt => $kept:expr) => {
        $kept
    };
}

pub(super) use {keep, options};

pub(super) fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *field = value;
    }
}

/// The lines of a comment as one.
pub(super) fn joined(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
