use proptest::prelude::*;

use super::*;

const IDLE: Choice = Choice { weight: 100, in_flight: 0, warm: 1.0, same_zone: false, recent: false };
const BOTH: [Balance; 2] = [Balance::LeastInFlight, Balance::WeightedRandom];
const ROUNDS: u64 = 20_000;

/// How often each is picked over many throws of the dice, as parts of one.
fn shares(choices: &[Choice], how: Balance) -> Vec<f64> {
    let mut counts = vec![0u32; choices.len()];
    for dice in 0..ROUNDS {
        counts[pick(choices, how, dice).unwrap()] += 1;
    }
    counts.iter().map(|count| f64::from(*count) / ROUNDS as f64).collect()
}

fn assert_shares(choices: &[Choice], how: Balance, expected: &[f64]) {
    let shares = shares(choices, how);
    let near = shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.02);
    assert!(near, "{how:?}: {shares:?}, expected {expected:?}");
}

#[test]
fn none_of_none() {
    assert_eq!(pick(&[], Balance::LeastInFlight, 1), None);
}

#[test]
fn idle_servers_are_used_by_weight() {
    let choices = [IDLE, Choice { weight: 300, ..IDLE }, Choice { weight: 0, ..IDLE }];
    for how in BOTH {
        assert_shares(&choices, how, &[0.25, 0.75, 0.0]);
    }
}

#[test]
fn of_two_the_one_with_less_in_flight_for_its_weight_is_taken() {
    let busy = Choice { in_flight: 9, ..IDLE };
    assert_shares(&[busy, Choice { in_flight: 8, ..IDLE }], Balance::LeastInFlight, &[0.0, 1.0]);
    let heavy = Choice { weight: 400, in_flight: 20, ..IDLE };
    assert_shares(&[busy, heavy], Balance::LeastInFlight, &[0.0, 1.0]);
    assert_shares(&[busy, IDLE], Balance::WeightedRandom, &[0.5, 0.5]);
}

#[test]
fn the_busiest_of_three_is_never_taken() {
    let with = |in_flight| Choice { in_flight, ..IDLE };
    assert_shares(&[with(1), with(2), with(3)], Balance::LeastInFlight, &[2.0 / 3.0, 1.0 / 3.0, 0.0]);
}

#[test]
fn weight_zero_is_the_last_resort() {
    let last = Choice { weight: 0, same_zone: true, recent: true, ..IDLE };
    for how in BOTH {
        assert_shares(&[last, Choice { in_flight: 1000, ..IDLE }], how, &[0.0, 1.0]);
        assert_shares(&[Choice { recent: false, ..last }; 2], how, &[0.5, 0.5]);
    }
}

#[test]
fn the_own_zone_comes_first() {
    let near = Choice { same_zone: true, weight: 1, in_flight: 50, ..IDLE };
    for how in BOTH {
        assert_shares(&[IDLE, near, Choice { recent: true, ..IDLE }], how, &[0.0, 1.0, 0.0]);
    }
}

#[test]
fn a_session_stays_until_its_server_is_overloaded() {
    let stays = |recent, other| {
        let choices =
            [Choice { in_flight: recent, recent: true, ..IDLE }, Choice { in_flight: other, ..IDLE }];
        BOTH.iter().all(|how| (0..100).all(|dice| pick(&choices, *how, dice) == Some(0)))
    };
    assert!(stays(0, 0));
    assert!(stays(8, 0), "few are no overload");
    assert!(stays(20, 10), "twice as many are none either");
    assert!(!stays(21, 10));
    assert!(!stays(9, 0));
}

#[test]
fn a_returning_server_gets_a_part_of_its_weight() {
    let returning = Choice { warm: 0.25, ..IDLE };
    for how in BOTH {
        assert_shares(&[returning, IDLE], how, &[0.2, 0.8]);
    }
    assert_shares(&[Choice { warm: f64::NAN, ..IDLE }, IDLE], Balance::WeightedRandom, &[0.5, 0.5]);
    assert_shares(&[Choice { warm: -1.0, ..IDLE }], Balance::WeightedRandom, &[1.0]);
}

proptest! {
    #[test]
    fn whatever_the_numbers_one_is_picked(
        servers in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<f64>(), any::<bool>(), any::<bool>()), 1..6),
        dice: u64,
        how in prop_oneof![Just(Balance::LeastInFlight), Just(Balance::WeightedRandom)],
    ) {
        let choices: Vec<Choice> = servers
            .into_iter()
            .map(|(weight, in_flight, warm, same_zone, recent)| Choice { weight, in_flight, warm, same_zone, recent })
            .collect();
        let picked = pick(&choices, how, dice);
        prop_assert!(picked.is_some_and(|index| index < choices.len()));
        prop_assert_eq!(picked, pick(&choices, how, dice));
        let weighed = choices.iter().any(|one| one.weight > 0);
        prop_assert!(!weighed || choices[picked.unwrap()].weight > 0);
    }
}
