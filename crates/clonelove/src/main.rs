//! clonelove: a read/write-splitting proxy for MySQL and MariaDB. This is the program: command line, config,
//! admin port, log and signals. It has no protocol logic; what needs a packet is the business of the crates
//! below it.

mod admin;
mod cli;
mod client;
mod config;
mod daemon;
mod explain;
mod output;
mod status;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// The one static of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::report_usage(&error),
    };
    match cli.command {
        Command::Run(options) => daemon::run(&options.config),
        Command::Check(options) => output::check(&options),
        Command::Explain(options) => explain::run(&options),
        Command::Status(options) => client::status(&options),
        Command::Drain(options) => client::steer_server(&options, "drain"),
        Command::Undrain(options) => client::steer_server(&options, "undrain"),
        Command::Reload(options) => client::reload(&options),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::read_to_string;

    /// `hg` marks memory for which large pages were asked (proc(5), `VmFlags`). Where the kernel gives them to everybody
    /// or to nobody the allocator does not ask.
    #[test]
    fn memory_is_in_large_pages_where_the_kernel_lends_them() {
        let lends = read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
        let some: Vec<Box<u64>> = (0..100_000).map(Box::new).collect();
        let marked = read_to_string("/proc/self/smaps")
            .unwrap()
            .lines()
            .any(|line| line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "hg"));
        assert_eq!(some.len(), 100_000);
        assert!(marked || !lends.contains("[madvise]"), "no memory is marked; the kernel says {lends:?}");
    }
}
