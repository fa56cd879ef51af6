//! Which state connections are wanted in most often. Owns that count and nothing else.

/// So many states are counted at once.
pub(crate) const TALLIED: usize = 4;

/// Counts are halved when one has come to this: what was wanted long ago weighs less than what is wanted now.
const FULL: u32 = 1_024;

/// How often each of a few states was wanted, by their numbers. One that is not among them takes the place of the rarest
/// and its count ("space saving": Metwally, Agrawal and El Abbadi, "Efficient Computation of Frequent and Top-k Elements
/// in Data Streams", 2005), so that one that is wanted often gets in, whatever came before.
#[derive(Debug, Default)]
pub(super) struct Tally([(u64, u32); TALLIED]);

impl Tally {
    pub(super) fn note(&mut self, state: u64) {
        let count = match self.0.iter_mut().find(|(known, count)| *known == state && *count > 0) {
            Some((_, count)) => {
                *count = count.saturating_add(1);
                *count
            }
            None => self.replace_rarest(state),
        };
        if count >= FULL {
            self.0.iter_mut().for_each(|(_, count)| *count /= 2);
        }
    }

    fn replace_rarest(&mut self, state: u64) -> u32 {
        let Some(rarest) = self.0.iter_mut().min_by_key(|(_, count)| *count) else { return 0 };
        *rarest = (state, rarest.1.saturating_add(1));
        rarest.1
    }

    /// The one that is wanted most often.
    pub(super) fn most(&self) -> Option<u64> {
        self.0.iter().filter(|(_, count)| *count > 0).max_by_key(|(_, count)| *count).map(|(state, _)| *state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(states: impl IntoIterator<Item = u64>) -> Option<u64> {
        let mut tally = Tally::default();
        states.into_iter().for_each(|state| tally.note(state));
        tally.most()
    }

    #[test]
    fn the_state_wanted_most_often_is_known() {
        assert_eq!(most([]), None);
        assert_eq!(most([0]), Some(0));
        assert_eq!(most([1, 2, 2, 3]), Some(2), "not the last");
        // Among many that come once each.
        assert_eq!(most((0..300).map(|n| if n % 3 == 0 { 7 } else { 1_000 + n })), Some(7));
    }

    #[test]
    fn what_is_wanted_now_outweighs_what_was_wanted_for_long() {
        let long_ago = std::iter::repeat_n(1, 100_000);
        assert_eq!(most(long_ago.chain(std::iter::repeat_n(2, 1_100))), Some(2));
    }
}
