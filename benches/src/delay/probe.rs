//! Whether the delay is what it says: round trips of one byte through the relay and past it, a connection's time,
//! and what it carries. Owns the measuring; judges nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::DelayRelay;

/// Round trips that are measured.
const ROUNDS: usize = 1000;
/// Bytes that are sent to see what the relay carries.
const LARGE: usize = 256 * 1024 * 1024;

/// What was measured.
#[derive(Debug)]
pub struct Probe {
    /// Nanoseconds of a round trip with nothing between.
    pub without: Histogram<u64>,
    /// Nanoseconds of one through the relay.
    pub with: Histogram<u64>,
    /// Nanoseconds from connecting to the first byte of a server that speaks first.
    pub connect: Histogram<u64>,
    /// Bytes a second, one way, through the relay.
    pub throughput: f64,
}

/// Measures a relay of its own, of `delay` each way.
///
/// # Errors
/// When there are no sockets.
pub fn measure(delay: Duration) -> Result<Probe> {
    let (echo, greeter, sink) = (serve(echo)?, serve(greet)?, serve(swallow)?);
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut relay = DelayRelay::new(delay, &[(any, echo), (any, greeter), (any, sink)])?;
    let addresses = relay.addresses()?;
    let [to_echo, to_greeter, to_sink] = addresses.as_slice() else { anyhow::bail!("no addresses") };
    std::thread::spawn(move || relay.run());
    Ok(Probe {
        without: round_trips(echo)?,
        with: round_trips(*to_echo)?,
        connect: connects(*to_greeter)?,
        throughput: throughput(*to_sink)?,
    })
}

fn times() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 10_000_000_000, 3)?)
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn round_trips(server: SocketAddr) -> Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    let mut times = times()?;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        times.saturating_record(nanoseconds(begun));
    }
    Ok(times)
}

fn connects(server: SocketAddr) -> Result<Histogram<u64>> {
    let mut times = times()?;
    for _ in 0..ROUNDS / 10 {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(server)?;
        stream.read_exact(&mut [0])?;
        times.saturating_record(nanoseconds(begun));
    }
    Ok(times)
}

fn throughput(server: SocketAddr) -> Result<f64> {
    let mut stream = TcpStream::connect(server)?;
    let chunk = vec![7; 256 * 1024];
    let begun = Instant::now();
    for _ in 0..LARGE / chunk.len() {
        stream.write_all(&chunk)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    anyhow::ensure!(told.parse::<usize>().context("no number")? == LARGE, "{told} of {LARGE} bytes came");
    Ok(LARGE as f64 / begun.elapsed().as_secs_f64())
}

/// A server with a thread for every client.
fn serve(serve: fn(TcpStream) -> std::io::Result<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 64 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(buffer.get(..count).unwrap_or_default())?,
        }
    }
}

fn greet(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(&[10])
}

/// Takes everything, and tells how much it was.
fn swallow(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut all = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.write_all(all.to_string().as_bytes()),
            count => all += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Earlier than the relay's reckoning allows is wrong on any machine; how much later depends on what else it does.
    #[test]
    fn nothing_is_early_and_nothing_is_lost() {
        let probe = measure(Duration::from_millis(2)).unwrap();
        // The histogram has three digits.
        assert!(probe.with.min() >= 3_700_000, "a round trip within {} ns", probe.with.min());
        assert!(probe.connect.min() >= 7_600_000, "a greeting within {} ns", probe.connect.min());
    }

    #[test]
    fn bytes_stay_in_order_both_ways() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut relay = DelayRelay::new(Duration::from_micros(250), &[(any, serve(echo).unwrap())]).unwrap();
        let address = relay.addresses().unwrap()[0];
        std::thread::spawn(move || relay.run());
        let stream = TcpStream::connect(address).unwrap();
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (mut out, mut back) = (stream.try_clone().unwrap(), stream);
        let again = sent.clone();
        let writer = std::thread::spawn(move || {
            // Pieces of all sizes.
            let mut rest = again.as_slice();
            let mut size = 1;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(size));
                out.write_all(piece).unwrap();
                (rest, size) = (after, size * 7 % 65_521);
            }
            out.shutdown(Shutdown::Write).unwrap();
        });
        let mut came = Vec::new();
        back.read_to_end(&mut came).unwrap();
        writer.join().unwrap();
        assert!(came == sent, "what came is not what was sent");
    }
}
