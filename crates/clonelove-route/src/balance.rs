//! Which of several servers that may serve a read should.
//!
//! Owns the choice, given numbers. Who may serve it at all, and where the numbers come from, is decided elsewhere.

#[cfg(test)]
mod tests;

/// What is known of one server that may serve the read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Its configured weight; 0 is the last resort.
    pub weight: u32,
    /// How many statements it is serving now.
    pub in_flight: u32,
    /// How far it has been warmed up since it came back, 0 to 1.
    pub warm: f64,
    /// Whether it is in the proxy's own zone.
    pub same_zone: bool,
    /// Whether the session used it last.
    pub recent: bool,
}

/// How servers are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Of two drawn by weight, the one with fewer statements in flight for its weight.
    #[default]
    LeastInFlight,
    /// Drawn by weight alone.
    WeightedRandom,
}

/// Picks one of `choices` by its index; `None` only when there is none. `dice` is any random number: equal
/// arguments give equal picks.
///
/// Servers with weight 0 are looked at only when there are no others, then those of the own zone are preferred, and
/// among these the one that the session used last, unless it is overloaded: so that a session does not go back in
/// time, and finds its connections again.
pub fn pick(choices: &[Choice], how: Balance, dice: u64) -> Option<usize> {
    let pool = pool(choices);
    if let Some(recent) = pool.iter().find(|one| one.recent && !is_overloaded(one, &pool)) {
        return Some(recent.index);
    }
    let mut dice = Dice(dice);
    let first = draw(pool.iter(), &mut dice)?;
    let second = match how {
        Balance::WeightedRandom => None,
        Balance::LeastInFlight => draw(pool.iter().filter(|one| one.index != first.index), &mut dice),
    };
    // With equal load the first stands, so that idle servers are used by their weight.
    Some(second.filter(|second| second.is_less_loaded_than(first)).unwrap_or(first).index)
}

/// Whether [`pick`] would keep a session on the server it used last, whatever the others carry.
pub fn is_unremarkable(in_flight: u32) -> bool {
    u64::from(in_flight) <= UNREMARKABLE
}

/// One server in the running.
struct Runner {
    index: usize,
    /// Weight times warmth, in 1024ths; never 0.
    share: u64,
    in_flight: u64,
    recent: bool,
}

impl Runner {
    fn is_less_loaded_than(&self, other: &Runner) -> bool {
        self.in_flight.saturating_mul(other.share) < other.in_flight.saturating_mul(self.share)
    }
}

fn pool(choices: &[Choice]) -> Vec<Runner> {
    let last_resort = choices.iter().all(|one| one.weight == 0);
    let weighed = || choices.iter().enumerate().filter(|(_, one)| last_resort || one.weight > 0);
    let zoned = weighed().any(|(_, one)| one.same_zone);
    weighed()
        .filter(|(_, one)| one.same_zone || !zoned)
        .map(|(index, one)| Runner {
            index,
            share: share(one),
            in_flight: one.in_flight.into(),
            recent: one.recent,
        })
        .collect()
}

fn share(choice: &Choice) -> u64 {
    let weight = f64::from(choice.weight.max(1));
    let warm = if choice.warm.is_nan() { 1.0 } else { choice.warm.clamp(0.0, 1.0) };
    // A cast from f64 saturates; the weight is a u32, so that nothing is lost.
    ((weight * warm * 1024.0) as u64).max(1)
}

/// A session leaves the server that it used last when that one has more than this many statements in flight, and
/// more than twice as many for its share as the least loaded.
const UNREMARKABLE: u64 = 8;

fn is_overloaded(one: &Runner, pool: &[Runner]) -> bool {
    let twice_as_loaded = |other: &Runner| {
        let doubled = other.in_flight.saturating_mul(2).saturating_mul(one.share);
        one.in_flight.saturating_mul(other.share) > doubled
    };
    one.in_flight > UNREMARKABLE && pool.iter().any(twice_as_loaded)
}

fn draw<'a>(runners: impl Iterator<Item = &'a Runner> + Clone, dice: &mut Dice) -> Option<&'a Runner> {
    let total = runners.clone().fold(0u64, |sum, one| sum.saturating_add(one.share));
    let mut mark = dice.below(total);
    runners.clone().find(|one| {
        let hit = mark < one.share;
        mark = mark.saturating_sub(one.share);
        hit
    })
}

/// Numbers drawn from one seed, by splitmix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, by the high half of a product: without the bias of a remainder. 0 for a limit of 0.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}
