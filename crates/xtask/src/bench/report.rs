//! The report of a run: a table in Markdown and a chart in SVG. Owns how figures look, and the facts of the machine.

use std::fmt::Write as _;
use std::fs;
use std::time::SystemTime;

use anyhow::Result;
use clonelove_testkit::Cluster;

use super::sample::{Cell, Sample, median};
use crate::shell::target_folder;

/// What was measured, and where.
pub(crate) struct Report {
    pub(crate) facts: Vec<String>,
    /// Memory of idle clients, by contender.
    pub(crate) idle: Vec<(String, Sample)>,
    pub(crate) cells: Vec<Cell>,
}

impl Report {
    /// Begins one, with how busy the machine is before anything is measured.
    pub(crate) fn new(cluster: &Cluster, args: &[&str]) -> Result<Self> {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism()?;
        let memory = field(&file("/proc/meminfo"), "MemTotal");
        let gib = memory.trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0 / 1024.0;
        let system = file("/etc/os-release");
        let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
        let kernel: Vec<String> =
            file("/proc/sys/kernel/osrelease").split('.').take(2).map(str::to_owned).collect();
        let load = file("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
        let facts = vec![
            format!("command: `{}`", format!("cargo xtask bench {}", args.join(" ")).trim()),
            format!("{cores} cores ({}), {gib:.0} GiB", field(&file("/proc/cpuinfo"), "model name")),
            format!("{}, Linux {}", system.trim_matches('"'), kernel.join(".")),
            format!("servers: {}", cluster.primary.value("SELECT VERSION()")?),
            format!("load average before the run: {load} (load, proxies and servers share the cores)"),
        ];
        Ok(Self { facts, idle: Vec::new(), cells: Vec::new() })
    }

    /// Prints the report, and keeps it with its chart. False when there were errors, which spoil a comparison.
    pub(crate) fn write(&self, name: Option<&str>) -> Result<bool> {
        let folder = target_folder().join("bench");
        fs::create_dir_all(&folder)?;
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs().to_string();
        let place = folder.join(name.unwrap_or(&stamp));
        let (table, chart) = (place.with_extension("md"), place.with_extension("svg"));
        let text = self.markdown();
        fs::write(&table, &text)?;
        fs::write(&chart, self.svg())?;
        println!("\n{text}\nkept in {} and {}", table.display(), chart.display());
        let mut errors = 0;
        for cell in &self.cells {
            for (name, sample) in
                cell.rows.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)))
            {
                if let Some(first) = &sample.first_error {
                    println!("{} errors of {name} in {}, the first: {first}", sample.errors, cell.name);
                    errors += sample.errors;
                }
            }
        }
        Ok(errors == 0)
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for fact in &self.facts {
            line(&mut text, format_args!("- {fact}"));
        }
        if !self.idle.is_empty() {
            line(&mut text, format_args!("\n| idle clients | KiB at rest | KiB per idle client |"));
            line(&mut text, format_args!("|---|---:|---:|"));
            for (name, sample) in &self.idle {
                let (rest, each) = (sample.rss_before / 1024, sample.growth_per_client as f64 / 1024.0);
                line(&mut text, format_args!("| {name} | {rest} | {each:.1} |"));
            }
        }
        for cell in &self.cells {
            line(
                &mut text,
                format_args!(
                    "\n| {} | requests/s | queries/s | MiB/s | of direct | of haproxy | CPU us/request | CPU us/query | switches/query | syscalls/query | p50 us | p99 us | p99.9 us | peak MiB |",
                    cell.name
                ),
            );
            line(
                &mut text,
                format_args!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"),
            );
            for (name, samples) in &cell.rows {
                let calls = cell.syscalls.iter().find(|(of, _)| of == name);
                let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
                let in_the_middle = |figure: fn(&Sample) -> f64, digits: usize| match *name {
                    "direct" => "–".to_owned(),
                    _ => format!("{:.digits$}", of(figure)),
                };
                line(
                    &mut text,
                    format_args!(
                        "| {name} | {:.0} | {:.0} | {:.1} | {} | {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.0} | {} |",
                        of(|sample| sample.rps),
                        of(|sample| sample.qps),
                        of(|sample| sample.bps / 1_048_576.0),
                        cell.ratio_to("direct", samples)
                            .map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
                        cell.ratio_to("haproxy", samples)
                            .map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
                        in_the_middle(|sample| sample.cpu_us_per_request, 1),
                        in_the_middle(|sample| sample.cpu_us, 1),
                        in_the_middle(|sample| sample.switches, 2),
                        calls.map_or("–".to_owned(), |(_, calls)| format!("{calls:.2}")),
                        of(|sample| sample.p50),
                        of(|sample| sample.p99),
                        of(|sample| sample.p999),
                        in_the_middle(|sample| sample.peak as f64 / 1_048_576.0, 0),
                    ),
                );
            }
        }
        text
    }

    /// Two bars for every contender in every cell: throughput as a part of direct, and processor time a query.
    fn svg(&self) -> String {
        const ROW: usize = 18;
        const TITLE: usize = 34;
        let cells: Vec<&Cell> = self.cells.iter().filter(|cell| !cell.has_rate).collect();
        let rows: usize = cells.iter().map(|cell| cell.rows.len()).sum();
        let height = rows * ROW + cells.len() * TITLE + 30;
        let dearest = cells
            .iter()
            .flat_map(|cell| &cell.rows)
            .map(|(_, samples)| median(samples.iter().map(|sample| sample.cpu_us)))
            .fold(1.0, f64::max);
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"820\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"110\" y=\"16\">throughput, of direct</text><text x=\"480\" y=\"16\">CPU us a query</text>\n"
        );
        let mut y = 24;
        for cell in cells {
            y += TITLE;
            line(
                &mut text,
                format_args!("<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>", y - 8, cell.name),
            );
            for (name, samples) in &cell.rows {
                let (ratio, cpu) = (cell.ratio(samples), median(samples.iter().map(|sample| sample.cpu_us)));
                let colour = if *name == "clonelove" { "#c2410c" } else { "#64748b" };
                let baseline = y + 13;
                line(&mut text, format_args!("<text x=\"8\" y=\"{baseline}\">{name}</text>"));
                if !ratio.is_nan() {
                    bar(&mut text, (110, y), ratio.min(1.2) * 280.0, colour, &format!("{ratio:.2}"));
                }
                if *name != "direct" {
                    bar(&mut text, (480, y), cpu / dearest * 280.0, colour, &format!("{cpu:.1}"));
                }
                y += ROW;
            }
        }
        text.push_str("</svg>\n");
        text
    }
}

fn bar(text: &mut String, (x, y): (usize, usize), width: f64, colour: &str, label: &str) {
    line(
        text,
        format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width:.0}\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{label}</text>",
            x as f64 + width + 4.0,
            y + 12
        ),
    );
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}
