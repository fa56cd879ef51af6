//! Waiting for conditions: the only place of the tests that looks again and again. It owns no state.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Long enough for a busy machine, short enough that a hang is noticed.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// What a condition may answer: `bool`, or the thing waited for, or either with an error that is worth a new look.
pub trait Holds {
    /// What the wait yields once the condition holds.
    type Out;

    /// The value when the condition holds, else why not (empty when there is nothing to say).
    fn outcome(self) -> Result<Self::Out, String>;
}

impl Holds for bool {
    type Out = ();

    fn outcome(self) -> Result<(), String> {
        if self { Ok(()) } else { Err(String::new()) }
    }
}

impl<T> Holds for Option<T> {
    type Out = T;

    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(String::new)
    }
}

impl<H: Holds> Holds for Result<H> {
    type Out = H::Out;

    fn outcome(self) -> Result<H::Out, String> {
        match self {
            Ok(inner) => inner.outcome(),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}

/// Waits until `condition` holds, looking again every few milliseconds.
///
/// # Errors
/// When `timeout` has passed; the message names `what` and why the condition did not hold at the last look.
pub fn wait_until<H: Holds>(
    what: &str,
    timeout: Duration,
    mut condition: impl FnMut() -> H,
) -> Result<H::Out> {
    let begun = Instant::now();
    loop {
        match condition().outcome() {
            Ok(value) => return Ok(value),
            Err(why) if begun.elapsed() >= timeout => {
                let because = if why.is_empty() { String::new() } else { format!(": {why}") };
                bail!("waited {timeout:?} in vain for {what}{because}");
            }
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that polls, so that no test has to sleep")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_with_its_reason() {
        let error = wait_until("the moon", Duration::ZERO, || -> Result<bool> { bail!("it is cloudy") });
        let text = error.unwrap_err().to_string();
        assert!(text.contains("the moon") && text.contains("it is cloudy"), "{text}");
    }

    #[test]
    fn the_value_waited_for_is_returned() {
        let mut looks = 0;
        let found = wait_until("the third look", DEFAULT_TIMEOUT, || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.unwrap(), 3);
    }
}
