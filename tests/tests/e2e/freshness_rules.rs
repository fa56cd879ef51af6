//! One small test for each rule of freshness: a replica is held back, something is done, and somebody else's read
//! must show it. That the replica would have shown something older is made sure of before.
#![expect(clippy::indexing_slicing, reason = "helpers of tests may fail as tests do")]

mod early;
mod keys;
mod late;
mod mutants;
mod positions;
mod roles;
mod rule;
mod writes;

use anyhow::Result;
use clonelove_testkit::Flavour;

/// Makes a test for each flavour that a check is for.
macro_rules! on_all {
    ($check:path => $mariadb:ident, $mariadb_sid:ident, $mysql_sid:ident) => {
        #[test]
        fn $mariadb() -> Result<()> {
            $check(Flavour::MariaDbDistribution)
        }

        #[test]
        fn $mariadb_sid() -> Result<()> {
            if Flavour::MariaDbSid.covered()? { $check(Flavour::MariaDbSid) } else { Ok(()) }
        }

        #[test]
        fn $mysql_sid() -> Result<()> {
            if Flavour::MySqlSid.covered()? { $check(Flavour::MySqlSid) } else { Ok(()) }
        }
    };
}

on_all!(writes::hold => what_is_written_is_read_by_everybody_on_mariadb,
    what_is_written_is_read_by_everybody_on_mariadb_sid, what_is_written_is_read_by_everybody_on_mysql_sid);
on_all!(keys::hold => what_is_written_to_a_key_is_read_and_other_keys_stay_on_replicas_on_mariadb,
    what_is_written_to_a_key_is_read_and_other_keys_stay_on_replicas_on_mariadb_sid,
    what_is_written_to_a_key_is_read_and_other_keys_stay_on_replicas_on_mysql_sid);
on_all!(early::what_the_primary_shows_early => what_the_primary_shows_early_stays_seen_on_mariadb,
    what_the_primary_shows_early_stays_seen_on_mariadb_sid, what_the_primary_shows_early_stays_seen_on_mysql_sid);
on_all!(early::what_a_replica_shows_early => what_a_replica_shows_early_stays_seen_on_mariadb,
    what_a_replica_shows_early_stays_seen_on_mariadb_sid, what_a_replica_shows_early_stays_seen_on_mysql_sid);
on_all!(early::what_a_replica_shows_early_of_others => what_a_replica_shows_early_of_others_stays_seen_on_mariadb,
    what_a_replica_shows_early_of_others_stays_seen_on_mariadb_sid,
    what_a_replica_shows_early_of_others_stays_seen_on_mysql_sid);
on_all!(early::what_a_former_replica_showed => what_a_former_replica_showed_stays_seen_on_mariadb,
    what_a_former_replica_showed_stays_seen_on_mariadb_sid, what_a_former_replica_showed_stays_seen_on_mysql_sid);
on_all!(early::what_the_log_has_not_told => what_the_log_has_not_told_stays_seen_on_mariadb,
    what_the_log_has_not_told_stays_seen_on_mariadb_sid, what_the_log_has_not_told_stays_seen_on_mysql_sid);
on_all!(early::an_unknown_commit_is_lost => an_unknown_commit_that_was_lost_is_in_doubt_on_mariadb,
    an_unknown_commit_that_was_lost_is_in_doubt_on_mariadb_sid,
    an_unknown_commit_that_was_lost_is_in_doubt_on_mysql_sid);
on_all!(positions::filters => a_replica_that_leaves_tables_out_gets_no_read_on_mariadb,
    a_replica_that_leaves_tables_out_gets_no_read_on_mariadb_sid,
    a_replica_that_leaves_tables_out_gets_no_read_on_mysql_sid);
on_all!(positions::reset_log => a_log_that_begins_anew_begins_a_history_on_mariadb,
    a_log_that_begins_anew_begins_a_history_on_mariadb_sid, a_log_that_begins_anew_begins_a_history_on_mysql_sid);
on_all!(positions::reset_log_just_now => a_log_that_begins_anew_just_now_hides_no_write_on_mariadb,
    a_log_that_begins_anew_just_now_hides_no_write_on_mariadb_sid, a_log_that_begins_anew_just_now_hides_no_write_on_mysql_sid);
on_all!(positions::reset_log_in_session => a_log_that_begins_anew_hides_no_own_write_on_mariadb,
    a_log_that_begins_anew_hides_no_own_write_on_mariadb_sid, a_log_that_begins_anew_hides_no_own_write_on_mysql_sid);
on_all!(early::a_lost_connection => a_write_whose_connection_was_lost_is_in_doubt_on_mariadb,
    a_write_whose_connection_was_lost_is_in_doubt_on_mariadb_sid,
    a_write_whose_connection_was_lost_is_in_doubt_on_mysql_sid);
on_all!(early::a_schema_that_changes_meanwhile => a_write_reaches_as_far_as_the_schema_says_at_its_end_on_mariadb,
    a_write_reaches_as_far_as_the_schema_says_at_its_end_on_mariadb_sid,
    a_write_reaches_as_far_as_the_schema_says_at_its_end_on_mysql_sid);
on_all!(early::another_replica => another_replica_shows_no_less_on_mariadb,
    another_replica_shows_no_less_on_mariadb_sid, another_replica_shows_no_less_on_mysql_sid);
on_all!(positions::a_replica_that_serves_later => what_is_forgotten_is_needed_of_who_serves_later_on_mariadb,
    what_is_forgotten_is_needed_of_who_serves_later_on_mariadb_sid,
    what_is_forgotten_is_needed_of_who_serves_later_on_mysql_sid);
on_all!(positions::a_replica_that_came_back_earlier => a_replica_that_came_back_earlier_gets_no_read_on_mariadb,
    a_replica_that_came_back_earlier_gets_no_read_on_mariadb_sid,
    a_replica_that_came_back_earlier_gets_no_read_on_mysql_sid);
on_all!(positions::a_restart_of_clonelove => a_restart_forgets_no_write_on_mariadb,
    a_restart_forgets_no_write_on_mariadb_sid, a_restart_forgets_no_write_on_mysql_sid);
on_all!(positions::more_than_is_remembered => what_is_forgotten_raises_the_floor_on_mariadb,
    what_is_forgotten_raises_the_floor_on_mariadb_sid, what_is_forgotten_raises_the_floor_on_mysql_sid);
on_all!(positions::another_server_at_its_address => another_server_at_a_replicas_address_gets_no_read_on_mariadb,
    another_server_at_a_replicas_address_gets_no_read_on_mariadb_sid,
    another_server_at_a_replicas_address_gets_no_read_on_mysql_sid);
on_all!(positions::gaps => a_later_write_does_not_stand_for_an_earlier_one_on_mariadb,
    a_later_write_does_not_stand_for_an_earlier_one_on_mariadb_sid,
    a_later_write_does_not_stand_for_an_earlier_one_on_mysql_sid);

#[test]
fn what_the_log_tells_early_is_not_lost_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { early::what_the_log_tells_early(Flavour::MySqlSid) } else { Ok(()) }
}

#[test]
fn a_position_amid_a_transaction_is_not_the_transactions() -> Result<()> {
    early::a_position_amid_a_transaction(Flavour::MariaDbDistribution)
}

#[test]
fn a_block_that_writes_in_two_domains_is_asked_for() -> Result<()> {
    positions::gap_in_a_block(Flavour::MariaDbDistribution)
}

#[test]
fn a_position_that_comes_late_is_nobody_elses() -> Result<()> {
    late::a_position_that_comes_late(Flavour::MariaDbDistribution)
}

#[test]
fn a_position_that_comes_late_is_nobody_elses_mariadb_sid() -> Result<()> {
    if Flavour::MariaDbSid.covered()? {
        late::a_position_that_comes_late(Flavour::MariaDbSid)
    } else {
        Ok(())
    }
}

#[test]
fn a_position_that_comes_late_is_shown_to_nobody_else() -> Result<()> {
    late::a_position_that_comes_to_another(Flavour::MariaDbDistribution)
}

#[test]
fn a_replicas_own_binlog_is_not_its_position() -> Result<()> {
    positions::own_binlog(Flavour::MariaDbDistribution)
}

#[test]
fn a_replica_that_was_set_back_behind_the_proxys_back_is_known_to_be() -> Result<()> {
    positions::set_back_unseen(Flavour::MariaDbDistribution)
}

#[test]
fn a_replica_that_was_set_back_and_is_not_watched_gets_no_read() -> Result<()> {
    positions::set_back_unwatched(Flavour::MariaDbDistribution)
}

#[test]
fn a_replica_that_was_set_back_in_the_proxys_sight_is_known_to_be() -> Result<()> {
    positions::set_back_in_sight(Flavour::MariaDbDistribution)
}

#[test]
fn a_replica_with_an_intended_delay_is_behind() -> Result<()> {
    positions::intended_delay(Flavour::MariaDbDistribution)
}

#[test]
fn a_primary_that_has_become_read_only_gets_no_new_connection() -> Result<()> {
    roles::a_primary_that_has_become_read_only(Flavour::MariaDbDistribution)
}

#[test]
fn a_primary_that_has_become_read_only_gets_no_new_connection_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? {
        roles::a_primary_that_has_become_read_only(Flavour::MySqlSid)
    } else {
        Ok(())
    }
}

#[test]
fn connections_of_before_a_change_of_roles_are_closed() -> Result<()> {
    roles::another_primary(Flavour::MariaDbDistribution)
}

#[test]
fn writes_of_a_former_primary_are_read_after_a_change_of_primary() -> Result<()> {
    positions::change_of_primary(Flavour::MariaDbDistribution)
}

#[test]
fn each_rule_that_is_dropped_is_missed_on_mariadb() -> Result<()> {
    mutants::are_caught(Flavour::MariaDbDistribution)
}

#[test]
fn each_rule_that_is_dropped_is_missed_on_mysql_sid() -> Result<()> {
    if Flavour::MySqlSid.covered()? { mutants::are_caught(Flavour::MySqlSid) } else { Ok(()) }
}
