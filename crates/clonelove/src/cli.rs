//! The command line: its words and its exit codes. Must not do anything.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::DEFAULT_PATH;

/// Something went wrong while it ran.
pub(crate) const FAILURE: u8 = 1;

/// Bad usage or a bad config (`EX_USAGE` of sysexits).
pub(crate) const USAGE: u8 = 64;

/// A read/write-splitting proxy for MySQL and MariaDB.
#[derive(Debug, Parser)]
#[command(name = "clonelove", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 failed while running, 64 bad usage or config.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    ///
    /// SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reloads the config.
    Run(Run),
    /// Check a config and tell every problem, with its place and a hint
    Check(Check),
    /// Tell how statements are understood, where they would go, and why
    Explain(Explain),
    /// Show what a running clonelove is doing
    Status(Status),
    /// Take a server out of use: no new work, what is under way ends
    Drain(Steer),
    /// Put a drained server back into use
    Undrain(Steer),
    /// Have a running clonelove read its config again
    Reload(Reload),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The config file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The config file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The statement; without it, one a line from standard input
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    pub(crate) sql: Option<String>,
    /// The session's sql_mode, as in 'ANSI,TRADITIONAL'
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub(crate) sql_mode: String,
    /// The session's schema, for names that have none
    #[arg(long, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// Ask the servers of this config what their tables, views and routines are; without it nothing is known of them
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Statements on standard input end with NUL instead of a newline
    #[arg(short = '0', conflicts_with = "sql")]
    pub(crate) nul: bool,
    /// Answer in JSON, one object a statement
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to reach a running clonelove.
#[derive(Debug, Args)]
pub(crate) struct Access {
    /// Where its admin port is; by default what the config says, else http://127.0.0.1:9307
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// The admin token; by default $CLONELOVE_HTTP_TOKEN, else what the config says
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The config file to take both from
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Steer {
    /// The server's configured name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) access: Access,
}

#[derive(Debug, Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) access: Access,
}

/// Prints what clap has to say (help and version are no errors), and gives the exit code.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do when even that cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["clonelove"], args].concat()).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sql_is_taken_as_it_is() {
        for sql in ["SELECT 1", "-- c\nSELECT 1", "--", "-1", "- SELECT", "", "--x=y", "/* */"] {
            let Ok(Command::Explain(options)) = parse(&["explain", "--json", "--", sql]) else {
                panic!("{sql}")
            };
            assert_eq!(options.sql.as_deref(), Some(sql));
        }
        for sql in ["-- c\nSELECT 1", "--\n", "-1", "- SELECT", "--x=y", "#c"] {
            let Ok(Command::Explain(options)) = parse(&["explain", sql, "--sql-mode", "ANSI", "--json"])
            else {
                panic!("{sql}")
            };
            assert_eq!(options.sql.as_deref(), Some(sql));
            assert_eq!(options.sql_mode, "ANSI");
            assert!(options.json);
        }
    }

    #[test]
    fn the_config_has_a_default_place() {
        let Ok(Command::Run(options)) = parse(&["run"]) else { panic!() };
        assert_eq!(options.config.to_str(), Some("/etc/clonelove/clonelove.toml"));
    }

    #[test]
    fn wrong_usage_is_64_and_help_is_0() {
        for args in [&["frobnicate"][..], &[], &["run", "--frob"], &["drain"], &["explain", "a", "b"]] {
            let error = parse(args).unwrap_err();
            // A bare `clonelove` prints the help, as an error.
            assert!(error.use_stderr(), "{args:?}");
        }
        assert!(!parse(&["--help"]).unwrap_err().use_stderr());
        assert!(!parse(&["--version"]).unwrap_err().use_stderr());
    }
}
