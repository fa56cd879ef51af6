//! Who writes and reads: requests on connections of their own, as PHP's, and sessions that stay. Owns the behaviour
//! of one client at a time; what is right or wrong is the judge's business.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use clonelove_testkit::Family;

use super::client::{Client, Failure, Rows, Way};
use super::dice::Dice;
use super::judge::{Breach, Memory};
use super::subjects::{ACKNOWLEDGED, ELSEWHERE, Reading, WHICH, When, Writing};
use super::world::{Expected, Numbers, Spot, World, bind, fill};

/// What a PHP application says first.
const GREETING: [&str; 2] =
    ["SET NAMES utf8mb4 COLLATE utf8mb4_general_ci", "SET sql_mode = 'STRICT_TRANS_TABLES'"];
/// Errors that say that something is not there which always is.
const NOT_THERE: [u16; 4] = [1054, 1146, 1305, 1356];
/// Errors in which the server, or the proxy, lost the statement: it may have been carried out, or still be.
const IN_DOUBT: [u16; 4] = [1053, 1317, 1927, 2013];
/// XA does not know an id, or not yet: the connection that prepared it is not gone.
const UNKNOWN_XID: u16 = 1397;
/// How many of a connection's statements are told with a breach.
const REMEMBERED: usize = 8;

/// How a visitor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// A new connection for each handful of statements, some of which write.
    Requests,
    /// A connection that stays and reads.
    Stays,
}

/// One connection, and what it has seen.
struct Session<'a> {
    world: &'a World,
    client: Client,
    /// Which process it goes through.
    process: usize,
    memory: Memory,
    said: VecDeque<String>,
    habit: Habit,
}

/// The connection must not be used any more.
struct Ended;

/// Visits until all is over.
pub(crate) fn visit(world: &World, habit: Habit, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut chased = None;
    while !world.is_over() {
        let Some(mut session) = Session::open(world, habit, &mut dice) else { return };
        let steps = if habit == Habit::Stays { 300 } else { 1 + dice.below(12) };
        if let Some(spot) = chased.take()
            && session.read(spot, &mut dice).is_err()
        {
            continue;
        }
        for _ in 0..steps {
            match session.step(&mut dice) {
                Ok(Next::Stay) if !world.is_over() => {}
                Ok(Next::Chase(spot)) => {
                    chased = Some(spot);
                    break;
                }
                _ => break,
            }
        }
    }
}

/// Reads each row once.
pub(crate) fn inspect(world: &World, spots: impl Iterator<Item = Spot>) {
    let mut dice = Dice::new(7);
    let mut spots = spots.peekable();
    while spots.peek().is_some() {
        let Some(mut session) = Session::open(world, Habit::Stays, &mut dice) else { return };
        for spot in spots.by_ref() {
            if session.read(spot, &mut dice).is_err() {
                break;
            }
        }
    }
}

enum Next {
    Stay,
    /// A new connection is to look at once whether this is there.
    Chase(Spot),
}

impl<'a> Session<'a> {
    fn open(world: &'a World, habit: Habit, dice: &mut Dice) -> Option<Self> {
        let process = dice.below(world.processes.lock().len());
        let client = world.connect(dice.percent(50), process)?;
        let mut session =
            Self { world, client, process, memory: Memory::new(), said: VecDeque::new(), habit };
        if dice.percent(50) {
            for sql in GREETING {
                // A connection that is lost here is found out by what comes next.
                let _ = session.ask(sql, Way::Text);
            }
        }
        Some(session)
    }

    fn step(&mut self, dice: &mut Dice) -> Result<Next, Ended> {
        let writes = match self.habit {
            Habit::Requests => self.world.write_share.load(Ordering::Relaxed),
            Habit::Stays => 0,
        };
        match dice.below(1000) {
            roll if roll < writes => {
                let spot = self.world.spot_to_write(dice);
                let written = self.write(spot, dice)?;
                match (written, dice.below(3)) {
                    (true, 0) => return Ok(Next::Chase(spot)),
                    (true, 1) => self.read(spot, dice)?,
                    _ => {}
                }
            }
            roll if roll >= 975 => self.merge()?,
            _ => {
                let spot = self.world.spot_to_read(dice);
                self.read(spot, dice)?;
            }
        }
        Ok(Next::Stay)
    }

    fn ask(&mut self, sql: &str, way: Way) -> Result<Rows, Failure> {
        self.remember(sql, way);
        self.client.ask(sql, way)
    }

    /// The same of a text with numbers to be put in.
    fn ask_with(&mut self, text: &str, numbers: Numbers, way: Way) -> Result<Rows, Failure> {
        let sql = fill(text, numbers);
        match bind(text, numbers).filter(|_| way == Way::Bound) {
            Some((with_parameters, params)) => {
                self.remember(&sql, way);
                self.client.execute(&sql, (&with_parameters, &params))
            }
            None => self.ask(&sql, way),
        }
    }

    fn remember(&mut self, sql: &str, way: Way) {
        if self.said.len() == REMEMBERED {
            self.said.pop_front();
        }
        let way = if way == Way::Text { String::new() } else { format!("({way:?}) ") };
        self.said.push_back(format!("{way}{sql}"));
    }

    /// Another connection goes on, through any process, once what this one had on the primary is nobody's.
    fn go_on_elsewhere(&mut self, thread: i64, dice: &mut Dice) -> Result<(), Ended> {
        *self = Self::open(self.world, self.habit, dice).ok_or(Ended)?;
        if self.world.family == Family::MySql {
            return Ok(());
        }
        self.world.wait_gone(thread).map_err(|error| {
            self.breach(format!("{error:#}"));
            Ended
        })
    }

    /// Says a step of a write; what was prepared by XA over a connection that is gone is not known at once.
    fn take_step(&mut self, text: &str, numbers: Numbers, way: Way) -> Result<Rows, Failure> {
        let mut answer = self.ask_with(text, numbers, way);
        while matches!(answer, Err(Failure::Refused(UNKNOWN_XID, _))) && !self.world.is_over() {
            std::thread::yield_now();
            answer = self.ask_with(text, numbers, way);
        }
        answer
    }

    /// Writes a version there, unless somebody else is at it. Whether it did.
    fn write(&mut self, spot: Spot, dice: &mut Dice) -> Result<bool, Ended> {
        let subject = self.world.shelf(spot.shelf).subject;
        if subject.name == "xa" && self.world.spare_xa.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let Some(mut pen) = self.world.cell(spot).take_pen() else { return Ok(false) };
        let fits = |one: &&Writing| {
            one.only.is_none_or(|only| only == self.world.family)
                && (one.when == When::Any || (one.when == When::Present) == pen.present())
        };
        let all: Vec<&Writing> = subject.writes.iter().filter(fits).collect();
        let Some(writing) = all.get(dice.below(all.len())) else { return Ok(false) };
        let way = if writing.steps.len() > 2 { Way::Text } else { Way::any(dice) };
        let Spot { table, row, .. } = spot;
        let unique = self.world.unique();
        let numbers = Numbers { table, row, last: row, version: pen.version(), unique };
        pen.begin(writing.becomes, writing.steps, self.world.now());
        let mut steps = writing.steps.iter().peekable();
        let mut acknowledged = false;
        let mut thread = 0;
        while let Some(step) = steps.next() {
            if *step == ACKNOWLEDGED {
                pen.acknowledge(writing.becomes, self.world.now(), self.process);
                acknowledged = true;
                self.world.writes.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if *step == ELSEWHERE {
                self.go_on_elsewhere(thread, dice)?;
                continue;
            }
            let last = steps.peek() == Some(&&ACKNOWLEDGED);
            let expected = writing.fails_with.filter(|_| last);
            // Several statements cannot be prepared, nor can all of what stands around transactions.
            let way = if step.contains(';') { Way::Text } else { way };
            match self.take_step(step, numbers, way) {
                Ok(rows) if *step == WHICH => thread = rows[0][0].unwrap_or_default(),
                Ok(_) if expected.is_none() => {}
                Ok(_) => self.breach(format!("{step} should have come to {expected:?}, and went well")),
                Err(failure) if expected.is_some() && failure.code() == expected => {}
                Err(failure) => {
                    self.world.note_failure(subject.name, &failure);
                    let refused = failure.code().is_some_and(|code| !IN_DOUBT.contains(&code));
                    if refused && !acknowledged {
                        pen.did_not_happen();
                    }
                    return Err(Ended);
                }
            }
        }
        Ok(true)
    }

    /// Reads something that shows this row.
    fn read(&mut self, spot: Spot, dice: &mut Dice) -> Result<(), Ended> {
        let subject = self.world.shelf(spot.shelf).subject;
        let reading: &'static Reading = &subject.reads[dice.below(subject.reads.len())];
        let last = (spot.row + dice.below(4)).min(subject.rows - 1);
        let numbers = Numbers { table: spot.table, row: spot.row, last, ..Numbers::default() };
        let way = Way::any(dice);
        let expected = Expected::now(self.world, (spot, last), reading, self.process);
        let answer = self.ask_with(reading.sql, numbers, way);
        self.world.reads.fetch_add(1, Ordering::Relaxed);
        let rows = match answer {
            Ok(rows) => rows,
            Err(failure) if failure.code().is_some() && failure.code() == reading.no_table => Rows::new(),
            Err(failure) => {
                if failure.code().is_some_and(|code| NOT_THERE.contains(&code)) {
                    let breach = Breach::Missing(failure.to_string());
                    self.breach(expected.say(spot.row, &breach));
                }
                self.world.note_failure("read", &failure);
                return Err(Ended);
            }
        };
        for wrong in expected.judge(&rows, &mut self.memory) {
            self.breach(wrong);
        }
        Ok(())
    }

    /// What Drupal calls a merge: look, insert if there is nothing, and look again if somebody else was quicker.
    /// Who was refused for a duplicate must find it.
    fn merge(&mut self) -> Result<(), Ended> {
        // Two visitors get the same number.
        let id = self.world.merges.fetch_add(1, Ordering::Relaxed) / 2;
        let look = format!("SELECT id, v FROM merged WHERE id = {id}");
        let lost = |world: &World, failure: Failure| {
            world.note_failure("merge", &failure);
            Ended
        };
        self.world.reads.fetch_add(1, Ordering::Relaxed);
        let found = self.ask(&look, Way::Text).map_err(|failure| lost(self.world, failure))?;
        if !found.is_empty() {
            return Ok(());
        }
        match self.ask(&format!("INSERT INTO merged VALUES ({id}, 2)"), Way::Text) {
            Ok(_) => return Ok(()),
            Err(Failure::Refused(1062, _)) => {}
            Err(failure) => return Err(lost(self.world, failure)),
        }
        self.world.reads.fetch_add(1, Ordering::Relaxed);
        let found = self.ask(&look, Way::Text).map_err(|failure| lost(self.world, failure))?;
        if found.is_empty() {
            self.breach(format!("{id} was a duplicate (1062), and then it was not there"));
        }
        Ok(())
    }

    fn breach(&self, what: String) {
        self.world.note_breach(format!(
            "{what}\n    through process {} on {} with{} DEPRECATE_EOF, after {:#?}",
            self.process,
            match self.habit {
                Habit::Requests => "a new connection",
                Habit::Stays => "a connection that stays",
            },
            if self.client.deprecate_eof { "" } else { "out" },
            self.said
        ));
    }
}
