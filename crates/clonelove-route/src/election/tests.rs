use proptest::prelude::*;

use super::*;
use crate::report::fixture::{FLAVOURS, channel, primary, replica};
use crate::report::{Channel, Flavour};

/// A server of a scene: `db1` is server 1 at `host1:3306`.
#[derive(Clone, Debug)]
struct Server {
    name: &'static str,
    host: String,
    pinned: Pinned,
    probed: bool,
    up: bool,
    read_only_by_client: bool,
    report: Option<Report>,
}

struct Scene {
    flavour: Flavour,
    servers: Vec<Server>,
    election: Election,
}

const NAMES: [&str; 4] = ["db0", "db1", "db2", "db3"];

impl Scene {
    /// db1 is primary; db2 and db3 replicate from it.
    fn new(flavour: Flavour) -> Self {
        let server = |id: u32, report| Server {
            name: NAMES[id as usize],
            host: format!("host{id}"),
            pinned: Pinned::Auto,
            probed: true,
            up: true,
            read_only_by_client: false,
            report: Some(report),
        };
        let servers = vec![
            server(1, primary(flavour, 1, 50)),
            server(2, replica(flavour, 2, 1, 50)),
            server(3, replica(flavour, 3, 1, 49)),
        ];
        Scene { flavour, servers, election: Election::new() }
    }

    /// The same after the election saw it once.
    fn settled(flavour: Flavour) -> Self {
        let mut scene = Scene::new(flavour);
        assert_eq!(scene.hold(), Verdict::Primary(0));
        scene
    }

    fn hold(&mut self) -> Verdict {
        let mut candidates = candidates(&self.servers);
        self.election.hold(&mut candidates)
    }

    fn expect(&mut self, index: usize) {
        for round in 0..3 {
            assert_eq!(self.hold(), Verdict::Primary(index), "{:?}, round {round}", self.flavour);
        }
    }

    fn expect_gone(&mut self, index: usize, words: &[&str]) {
        for _ in 0..3 {
            let Verdict::Gone { last, why } = self.hold() else { panic!("{:?}", self.hold()) };
            assert_eq!(last, Some(index), "{why}");
            assert!(words.iter().all(|word| why.contains(word)), "{why} lacks one of {words:?}");
        }
    }

    fn expect_none(&mut self, words: &[&str]) {
        for _ in 0..3 {
            let Verdict::None { why } = self.hold() else { panic!("{:?}", self.hold()) };
            assert!(words.iter().all(|word| why.contains(word)), "{why} lacks one of {words:?}");
        }
    }

    fn expect_conflict(&mut self, one: usize, other: usize) {
        for _ in 0..3 {
            let Verdict::Conflict { a, b, why } = self.hold() else { panic!("{:?}", self.hold()) };
            assert_eq!((a, b), (one, other));
            let named = |index: usize| why.contains(self.servers[index].name);
            assert!(named(one) && named(other) && why.contains("read-only"), "{why}");
        }
    }

    fn report(&mut self, index: usize) -> &mut Report {
        self.servers[index].report.as_mut().unwrap()
    }

    fn down(&mut self, index: usize) {
        self.servers[index].up = false;
    }

    /// RESET SLAVE ALL and read_only=0.
    fn promote(&mut self, index: usize) {
        self.report(index).replication.clear();
        self.report(index).read_only = false;
    }

    fn repoint(&mut self, index: usize, source: u32) {
        let flavour = self.flavour;
        self.report(index).replication = vec![channel(flavour, source)];
    }

    /// A proxy that knows nothing of what was.
    fn forget(&mut self) {
        self.election = Election::new();
    }
}

fn candidates(servers: &[Server]) -> Vec<Candidate<'_>> {
    let candidate = |server: &'_ Server| Candidate {
        name: server.name,
        pinned: server.pinned,
        host: "",
        port: 3306,
        probed: server.probed,
        up: server.up,
        answering: server.up,
        report: None,
        followed: None,
        read_only_by_client: server.read_only_by_client,
    };
    servers
        .iter()
        .map(|server| Candidate { host: &server.host, report: server.report.as_ref(), ..candidate(server) })
        .collect()
}

/// Each flavour, since they recognise a source by different means.
fn each(test: fn(Flavour)) {
    FLAVOURS.into_iter().for_each(test);
}

#[test]
fn the_writable_one_that_replicates_from_none_is_primary() {
    each(|flavour| Scene::new(flavour).expect(0));
}

#[test]
fn nobody_is_primary_before_each_was_probed() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.servers[2].probed = false;
        scene.servers[2].up = false;
        scene.servers[2].report = None;
        scene.expect_none(&["db3 has not been probed yet"]);
        scene.servers[2].probed = true;
        scene.expect(0);
    });
}

#[test]
fn a_writable_replica_is_no_primary() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.report(1).read_only = false;
        scene.expect(0);
        scene.down(0);
        scene.expect_gone(0, &["db1 is down", "db2 replicates from another"]);
    });
}

#[test]
fn the_last_primary_is_named_while_it_is_down() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        scene.expect_gone(0, &["db1 is down", "db2 is read-only", "db3 is read-only"]);
        scene.servers[0].up = true;
        scene.expect(0);
    });
}

#[test]
fn a_read_only_primary_is_gone() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.report(0).read_only = true;
        scene.expect_gone(0, &["db1 is read-only"]);
    });
}

#[test]
fn failover_to_a_replica_is_followed_and_the_old_primary_stays_out() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        scene.promote(1);
        scene.expect(1);
        scene.repoint(2, 2);
        scene.expect(1);
        // It comes back as it was: writable, replicating from none.
        scene.servers[0].up = true;
        scene.expect(1);
        scene.report(0).read_only = true;
        scene.repoint(0, 2);
        scene.expect(1);
    });
}

#[test]
fn failover_back_and_forth() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        scene.promote(1);
        scene.expect(1);
        scene.servers[0].up = true;
        scene.report(0).read_only = true;
        scene.repoint(0, 2);
        scene.expect(1);
        scene.down(1);
        scene.promote(0);
        scene.expect(0);
    });
}

#[test]
fn planned_switchover_is_followed() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.report(0).read_only = true;
        scene.expect_gone(0, &["db1 is read-only"]);
        scene.promote(1);
        scene.expect(1);
    });
}

#[test]
fn a_primary_that_was_made_a_replica_of_a_claimant_gives_way() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.promote(1);
        scene.expect(0);
        scene.repoint(0, 2);
        scene.expect(1);
    });
}

#[test]
fn a_challenger_does_not_displace_a_healthy_primary() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.promote(1);
        scene.expect(0);
    });
}

#[test]
fn one_that_was_taken_out_long_ago_is_no_heir() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.promote(1);
        scene.expect(0);
        // The primary goes on without it.
        scene.report(0).binlog_position = primary(flavour, 1, 90).binlog_position;
        scene.expect(0);
        scene.down(0);
        scene.expect_gone(0, &["db1 is down", "db2 is writable, but was not its replica"]);
    });
}

#[test]
fn one_that_has_everything_is_an_heir_whenever_it_was_taken_out() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.promote(1);
        scene.expect(0);
        scene.report(0).read_only = true;
        scene.expect(1);
    });
}

#[test]
fn a_failover_before_the_primary_is_declared_down_is_followed() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.promote(1);
        // db1's probes fail, but not often enough yet; what it wrote last is lost.
        scene.report(0).binlog_position = primary(flavour, 1, 90).binlog_position;
        let mut candidates = candidates(&scene.servers);
        candidates[0].answering = false;
        assert_eq!(scene.election.hold(&mut candidates), Verdict::Primary(0));
        scene.down(0);
        scene.expect(1);
    });
}

#[test]
fn a_stranger_is_no_heir() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.servers.push(Server { name: "db9", host: "host9".into(), ..scene.servers[0].clone() });
        scene.servers[3].report = Some(primary(flavour, 9, 500));
        scene.expect(0);
        scene.down(0);
        scene.expect_gone(0, &["db9 is writable, but was not its replica"]);
    });
}

#[test]
fn a_stranger_is_no_heir_of_a_primary_that_has_written_nothing() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        let other = Server { name: "db9", host: "host9".into(), ..scene.servers[0].clone() };
        scene.servers.push(Server { report: Some(primary(flavour, 9, 500)), ..other });
        scene.report(0).binlog_position = Some(Position::empty(flavour));
        scene.expect(0);
        scene.down(0);
        scene.expect_gone(0, &["db9 is writable, but was not its replica"]);
    });
}

#[test]
fn a_former_primary_with_high_numbers_is_no_heir() {
    each(|flavour| {
        // db2 is primary, db1 an old one that was written in vain and comes back writable.
        let mut scene = Scene::new(flavour);
        scene.servers[0].report = Some(replica(flavour, 1, 2, 10));
        scene.servers[1].report = Some(primary(flavour, 2, 50));
        scene.repoint(2, 2);
        scene.down(0);
        scene.expect(1);
        scene.servers[0] =
            Server { up: true, report: Some(primary(flavour, 1, 99)), ..scene.servers[0].clone() };
        scene.expect(1);
        scene.down(1);
        scene.expect_gone(1, &["db1 is writable, but was not its replica"]);
    });
}

#[test]
fn stopped_replication_is_no_promotion() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        let stopped = Channel { io_running: false, sql_running: false, ..channel(flavour, 1) };
        scene.report(1).replication = vec![stopped];
        scene.report(1).read_only = false;
        scene.expect_gone(0, &["db2 is set up to replicate", "RESET SLAVE ALL"]);
        scene.promote(1);
        scene.expect(1);
    });
}

#[test]
fn two_heirs_are_a_conflict_until_one_gives_way() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        scene.promote(1);
        scene.promote(2);
        scene.expect_conflict(1, 2);
        scene.report(1).read_only = true;
        scene.expect(2);
    });
}

#[test]
fn two_claimants_at_the_start_are_a_conflict() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.promote(1);
        scene.expect_conflict(0, 1);
        scene.servers[0].pinned = Pinned::Primary;
        scene.expect(0);
    });
}

#[test]
fn at_the_start_the_replicas_tell_whom_they_miss() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.servers[0].report = None;
        scene.down(0);
        for index in [1, 2] {
            scene.report(index).replication[0].io_running = false;
            scene.report(index).replication[0].io_connecting = true;
        }
        scene.expect_gone(0, &["db1 is down"]);
        scene.servers[0] = Scene::new(flavour).servers[0].clone();
        scene.expect(0);
    });
}

#[test]
fn a_writable_replica_is_not_elected_while_its_source_is_unknown() {
    each(|flavour| {
        // The replicas know the primary under a name that is not ours, and it never answered us.
        let mut scene = Scene::new(flavour);
        scene.servers[0].report = None;
        scene.down(0);
        for index in [1, 2] {
            scene.report(index).replication[0].source_host = "elsewhere".to_owned();
        }
        scene.report(1).read_only = false;
        scene.expect_none(&["db1 is down", "db2 replicates from another"]);
    });
}

#[test]
fn an_old_primary_is_not_elected_at_the_start_while_the_replicas_miss_another() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.promote(1);
        scene.down(0);
        let known = scene.servers[0].report.take();
        scene.expect_gone(0, &["db1 cannot be written", "db2 is writable", "no server replicates from it"]);
        scene.forget();
        scene.servers[0].report = known;
        scene.expect(1);
        scene.forget();
        scene.servers[0].report = None;
        let mut db4 = scene.servers[2].clone();
        (db4.name, db4.host) = ("db4", "host4".to_owned());
        db4.report = Some(replica(flavour, 4, 2, 50));
        scene.servers.push(db4);
        scene.expect(1);
    });
}

#[test]
fn a_primary_may_replicate_from_outside() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.repoint(0, 77);
        scene.expect(0);
    });
}

#[test]
fn a_chain_has_its_head_as_primary() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.repoint(2, 2);
        scene.report(1).read_only = false;
        scene.report(2).read_only = false;
        scene.expect(0);
    });
}

#[test]
fn a_ring_has_no_primary_unless_one_is_pinned() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.repoint(0, 2);
        scene.expect_none(&["db1 replicates from another", "role = \"primary\""]);
        scene.servers[0].pinned = Pinned::Primary;
        scene.expect(0);
    });
}

#[test]
fn a_pinned_primary_has_no_heir() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.servers[0].pinned = Pinned::Primary;
        scene.expect(0);
        scene.down(0);
        scene.promote(1);
        scene.expect_gone(0, &["db1 is down", "role = \"primary\""]);
        scene.servers[0].up = true;
        scene.report(0).read_only = true;
        scene.expect_gone(0, &["db1 is read-only"]);
    });
}

#[test]
fn of_two_pinned_primaries_the_writable_one_counts() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.servers[0].pinned = Pinned::Primary;
        scene.servers[1].pinned = Pinned::Primary;
        scene.expect(0);
        scene.down(0);
        scene.promote(1);
        scene.expect(1);
        scene.servers[0].up = true;
        scene.expect(1);
        scene.forget();
        scene.expect_conflict(0, 1);
    });
}

#[test]
fn a_pinned_replica_is_never_primary() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.servers[1].pinned = Pinned::Replica;
        scene.down(0);
        scene.promote(1);
        scene.expect_gone(0, &["db2 is configured as a replica"]);
        scene.servers[0].up = true;
        scene.servers[0].pinned = Pinned::Replica;
        scene.expect_none(&["db1 is configured as a replica", "db3 is read-only"]);
    });
}

#[test]
fn the_primary_is_remembered_by_name() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.down(0);
        scene.promote(1);
        scene.expect(1);
        scene.servers[0].up = true;
        scene.servers.reverse();
        scene.expect(1);
        scene.servers.remove(1);
        scene.expect(1);
        assert_eq!(
            scene.election.current(),
            Some("db1"),
            "with db2 taken from the list, db1 is the only one"
        );
    });
}

#[test]
fn sources_are_recognised_under_other_addresses() {
    each(|flavour| {
        let mut scene = Scene::new(flavour);
        scene.servers[0].host = "10.0.0.1".to_owned();
        scene.report(1).replication[0].source_host = "a-name".to_owned();
        let candidates = candidates(&scene.servers);
        let channel = &scene.servers[1].report.as_ref().unwrap().replication[0];
        assert_eq!(
            source_of(channel, 1, &candidates),
            Source::Candidate(0),
            "connected: it knows who that is"
        );
        let unconnected = Channel {
            io_running: false,
            source_id: None,
            source_uuid: None,
            source_host: "LOCALHOST".to_owned(),
            ..channel.clone()
        };
        assert_eq!(source_of(&unconnected, 1, &candidates), Source::Unknown);
        scene.servers[0].host = "127.0.0.1".to_owned();
        assert_eq!(
            source_of(&unconnected, 1, &super::tests::candidates(&scene.servers)),
            Source::Candidate(0)
        );
    });
}

#[test]
fn a_repointed_channel_that_is_not_connected_goes_by_its_address() {
    // MariaDB keeps the old source's server id until it has connected to the new one.
    let scene = Scene::new(Flavour::MariaDb);
    let repointed = Channel {
        io_running: false,
        io_connecting: true,
        source_host: "host3".to_owned(),
        ..channel(Flavour::MariaDb, 1)
    };
    assert_eq!(source_of(&repointed, 1, &candidates(&scene.servers)), Source::Candidate(2));
}

/// A server in any condition: role given, reachable, known, read-only, and what it is set up to replicate from.
fn any_server(id: u32, flavour: Flavour) -> impl Strategy<Value = Server> {
    let pinned = prop_oneof![8 => Just(Pinned::Auto), 1 => Just(Pinned::Primary), 1 => Just(Pinned::Replica)];
    let source = proptest::option::of(1..=4u32);
    (pinned, any::<bool>(), any::<bool>(), any::<bool>(), source, 1..60u64).prop_map(
        move |(pinned, up, known, read_only, source, last)| {
            let own = primary(flavour, id, last);
            let report = match source.filter(|source| *source != id) {
                Some(source) => Report { read_only, ..replica(flavour, id, source, last) },
                None => Report { read_only, ..own },
            };
            let report = (up || known).then_some(report);
            let (name, host) = (NAMES[id as usize], format!("host{id}"));
            Server { name, host, pinned, probed: true, up, read_only_by_client: false, report }
        },
    )
}

fn any_servers() -> impl Strategy<Value = (Flavour, Vec<Server>)> {
    prop_oneof![Just(Flavour::MariaDb), Just(Flavour::MySql)].prop_flat_map(|flavour| {
        let servers = (any_server(1, flavour), any_server(2, flavour), any_server(3, flavour));
        servers.prop_map(move |(a, b, c)| (flavour, vec![a, b, c]))
    })
}

proptest! {
    #[test]
    fn whatever_happens_the_primary_can_be_written(scenes in proptest::collection::vec(any_servers(), 1..8)) {
        let mut election = Election::new();
        for (_, servers) in &scenes {
            let before = election.current().map(str::to_owned);
            let mut all = candidates(servers);
            let verdict = election.hold(&mut all);
            if let Verdict::Primary(index) = verdict {
                prop_assert!(all[index].is_writable() && all[index].pinned != Pinned::Replica);
            }
            if let Verdict::Conflict { a, b, .. } = verdict {
                prop_assert!(a != b && all[a].is_writable() && all[b].is_writable());
            }
            let unpinned = all.iter().all(|one| one.pinned == Pinned::Auto);
            let present = before.and_then(|name| all.iter().position(|one| one.name == name));
            if let Some(present) = present.filter(|index| unpinned && all[*index].is_writable()) {
                let demoted = sources(present, &all).next().is_some();
                prop_assert!(demoted || verdict == Verdict::Primary(present), "a healthy primary was displaced");
            }
        }
    }
}

#[test]
fn one_that_a_client_made_read_only_stays_until_somebody_claims() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.report(0).read_only = true;
        scene.expect_gone(0, &["db1 is read-only"]);
        scene.servers[0].read_only_by_client = true;
        scene.expect(0);
        scene.down(0);
        scene.expect_gone(0, &["db1 is down"]);
        scene.servers[0].up = true;
        scene.expect(0);
        scene.promote(1);
        scene.expect(1);
    });
}

#[test]
fn one_pinned_that_a_client_made_read_only_stays() {
    each(|flavour| {
        let mut scene = Scene::settled(flavour);
        scene.servers[0].pinned = Pinned::Primary;
        scene.report(0).read_only = true;
        scene.expect_gone(0, &["db1 is read-only"]);
        scene.servers[0].read_only_by_client = true;
        scene.expect(0);
    });
}

type Happening = fn(&mut Scene);

/// What happens, and who is primary then without the rule, and must not be.
const TRAPS: [(Rules, Happening, usize); 8] = [
    (
        Rules::WRITABLE,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            scene.down(0);
            scene.report(1).replication.clear();
        },
        1,
    ),
    (
        Rules::INDEPENDENT,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            scene.down(0);
            scene.report(1).read_only = false;
        },
        1,
    ),
    (
        Rules::PRESENT_STAYS,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            scene.promote(1);
        },
        1,
    ),
    (
        Rules::HEIR,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            stranger(scene);
            scene.down(0);
        },
        3,
    ),
    (
        Rules::HEIR,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            stranger(scene);
            scene.report(0).read_only = true;
        },
        3,
    ),
    (
        // An old primary came back, and the replicas miss another.
        Rules::HEIR,
        |scene| {
            scene.promote(1);
            scene.down(0);
            scene.servers[0].report = None;
        },
        1,
    ),
    (Rules::TWO_CLAIMANTS, |scene| scene.promote(1), 0),
    (
        Rules::TWO_CLAIMANTS,
        |scene| {
            assert_eq!(scene.hold(), Verdict::Primary(0));
            scene.down(0);
            scene.promote(1);
            scene.promote(2);
        },
        1,
    ),
];

/// A server that is writable, and has nothing to do with the others.
fn stranger(scene: &mut Scene) {
    let report = primary(scene.flavour, 9, 500);
    scene.servers.push(Server {
        name: "db9",
        host: "host9".into(),
        report: Some(report),
        ..scene.servers[0].clone()
    });
}

#[test]
fn each_rule_of_who_is_primary_that_is_dropped_is_missed() {
    each(|flavour| {
        for (number, (rule, happens, wrong)) in TRAPS.into_iter().enumerate() {
            for (kept, is_wrong) in [(Rules::all(), false), (Rules::all() - rule, true)] {
                let mut scene = Scene::new(flavour);
                scene.election = Election::by(kept);
                happens(&mut scene);
                let verdict = scene.hold();
                assert_eq!(
                    verdict == Verdict::Primary(wrong),
                    is_wrong,
                    "trap {number}, {flavour:?}, {kept:?}: {verdict:?}"
                );
                if rule == Rules::TWO_CLAIMANTS && !is_wrong {
                    assert!(matches!(verdict, Verdict::Conflict { .. }), "{verdict:?}");
                }
            }
        }
    });
}
