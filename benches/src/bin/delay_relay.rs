//! A network between a machine and its servers: every byte leaves so many microseconds after it came.
//!
//! `delay_relay MICROSECONDS LISTEN SERVER [LISTEN SERVER]...`, addresses as `address:port`; the time is that of one
//! way. `delay_relay probe MICROSECONDS` measures itself and prints a JSON object.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "its result goes to its caller")]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clonelove_benches::delay::{DelayRelay, probe};
use serde_json::json;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    // A network does not wait for a processor. Where that is not allowed, it goes without.
    let _ = rustix::process::setpriority_process(None, -20);
    match words.as_slice() {
        ["probe", delay] => probe(microseconds(delay)?),
        [delay, rest @ ..] if !rest.is_empty() => {
            let routes: Vec<_> = rest.chunks(2).map(route).collect::<Result<_>>()?;
            Ok(DelayRelay::new(microseconds(delay)?, &routes)?.run()?)
        }
        _ => bail!(
            "usage: delay_relay MICROSECONDS LISTEN SERVER [LISTEN SERVER]..., or delay_relay probe MICROSECONDS"
        ),
    }
}

fn microseconds(word: &str) -> Result<Duration> {
    word.parse().map(Duration::from_micros).with_context(|| format!("no microseconds: {word}"))
}

fn route(pair: &[&str]) -> Result<(SocketAddr, SocketAddr)> {
    let [listen, server] = pair else { bail!("every LISTEN needs its SERVER") };
    let address = |text: &str| text.parse().with_context(|| format!("no address: {text}"));
    Ok((address(listen)?, address(server)?))
}

fn probe(delay: Duration) -> Result<()> {
    let probe = probe::measure(delay)?;
    let at = |times: &hdrhistogram::Histogram<u64>, quantile: f64| {
        times.value_at_quantile(quantile) as f64 / 1000.0
    };
    let told = |times| json!({"min": at(times, 0.0), "p50": at(times, 0.5), "p99": at(times, 0.99)});
    println!(
        "{}",
        json!({
            "rtt_us": told(&probe.with), "loopback_rtt_us": told(&probe.without),
            "connect_and_greeting_us": told(&probe.connect), "mib_per_second": probe.throughput / 1_048_576.0,
        })
    );
    Ok(())
}
