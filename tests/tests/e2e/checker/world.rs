//! Everything that is written and read, and what became of it. Owns the cells and the tallies; the visitors act on it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clonelove_testkit::{Connection, Family, wait_until};
use parking_lot::Mutex;

use super::client::{Client, Failure};
use super::dice::Dice;
use super::judge::{Breach, Cell, Memory, Promise, judge};
use super::subjects::{Reading, SUBJECTS, Sees, Subject};

/// A run ends at so many breaches: they are of a kind, and one is too many.
const ENOUGH: usize = 40;

/// What is being checked.
pub(crate) struct World {
    pub(crate) family: Family,
    shelves: Vec<Shelf>,
    weights: usize,
    begun: Instant,
    /// To ask the primary itself.
    primary: Mutex<Option<Connection>>,
    /// Where each process is, for clients and for who asks it for its state.
    pub(crate) processes: Mutex<Vec<Process>>,
    /// A read need not reflect what another process told until that has arrived.
    pub(crate) windowed: bool,
    /// How many statements of a thousand write.
    pub(crate) write_share: AtomicUsize,
    /// Nothing writes by XA: MySQL's replicas do not survive a kill with what was prepared there.
    pub(crate) spare_xa: AtomicBool,
    /// What ails the servers now.
    pub(crate) trouble: Mutex<String>,
    pub(crate) over: AtomicBool,
    pub(crate) reads: AtomicU64,
    /// How often what others told was seen to have arrived.
    pub(crate) arrivals: AtomicU64,
    pub(crate) writes: AtomicU64,
    /// Numbers that nobody else has.
    unique: AtomicU64,
    /// Rows that were to be merged so far.
    pub(crate) merges: AtomicU64,
    pub(crate) breaches: Mutex<Vec<String>>,
    /// What was refused or lost, by its error.
    pub(crate) failures: Mutex<BTreeMap<String, u64>>,
}

/// A process of clonelove.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) address: String,
    pub(crate) admin: String,
}

/// A subject and its cells.
pub(crate) struct Shelf {
    pub(crate) subject: &'static Subject,
    cells: Vec<Cell>,
}

/// A row of a table of a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) shelf: usize,
    pub(crate) table: usize,
    /// From 0; in texts it counts from 1.
    pub(crate) row: usize,
}

impl World {
    /// All subjects that servers of this family have, or those that are named, separated by commas.
    pub(crate) fn new(family: Family, named: &str, windowed: bool) -> Self {
        let wanted = |name: &str| named.is_empty() || named.split(',').any(|one| one == name);
        let here = |subject: &&Subject| {
            subject.only.is_none_or(|only| only == family) && (wanted(subject.name) || subject.name == "rows")
        };
        let shelves: Vec<Shelf> = SUBJECTS.iter().filter(here).map(Shelf::new).collect();
        Self {
            family,
            weights: shelves.iter().map(|shelf| shelf.subject.weight).sum(),
            shelves,
            begun: Instant::now(),
            primary: Mutex::default(),
            processes: Mutex::default(),
            windowed,
            write_share: 80.into(),
            spare_xa: AtomicBool::new(false),
            trouble: Mutex::default(),
            over: AtomicBool::new(false),
            reads: 0.into(),
            arrivals: 0.into(),
            writes: 0.into(),
            unique: 0.into(),
            merges: 0.into(),
            breaches: Mutex::default(),
            failures: Mutex::default(),
        }
    }

    /// Makes all tables, and the rows that are there from the start.
    pub(crate) fn set_up(&self, mut root: Connection) -> Result<()> {
        root.query("CREATE TABLE app.merged (id BIGINT PRIMARY KEY, v BIGINT NOT NULL)")?;
        for shelf in &self.shelves {
            for table in 0..shelf.subject.tables {
                for sql in shelf.subject.setup {
                    root.query(&fill(sql, Numbers { table, ..Numbers::default() }))?;
                }
                let rows = 0..shelf.subject.rows;
                let firsts = shelf.subject.first.iter();
                let numbers = move |row| Numbers { table, row, ..Numbers::default() };
                let all = firsts.flat_map(|sql| rows.clone().map(move |row| fill(sql, numbers(row))));
                let all = all.collect::<Vec<_>>().join("; ");
                if !all.is_empty() {
                    root.query(&all)?;
                }
            }
        }
        *self.primary.lock() = Some(root);
        Ok(())
    }

    /// Waits until nothing that was prepared by XA over this connection belongs to it any more.
    ///
    /// While MariaDB (10.11) clears a connection away it may answer another one's XA COMMIT and not carry it out: the
    /// binary log has it, the tables have not, on the primary and without any proxy (6 of 10,876 tries).
    pub(crate) fn wait_gone(&self, thread: i64) -> Result<()> {
        ensure!(thread > 0, "it is not known which connection that was");
        let connection = format!(" thread id {thread},");
        wait_until("a connection to leave what it prepared", Duration::from_secs(60), || {
            let mut primary = self.primary.lock();
            let rows = primary.as_mut().context("nothing is set up")?.query("SHOW ENGINE INNODB STATUS")?;
            let status = rows.into_iter().flatten().flatten().last().unwrap_or_default();
            let (_, transactions) = status.split_once("LIST OF TRANSACTIONS").context("no transactions")?;
            anyhow::Ok(!transactions.contains(&connection))
        })
    }

    pub(crate) fn shelf(&self, at: usize) -> &Shelf {
        &self.shelves[at]
    }

    /// All rows of all tables.
    pub(crate) fn spots(&self) -> impl Iterator<Item = Spot> {
        self.shelves.iter().enumerate().flat_map(|(shelf, one)| {
            let tables = 0..one.subject.tables;
            tables.flat_map(move |table| (0..one.subject.rows).map(move |row| Spot { shelf, table, row }))
        })
    }

    /// Any row, the first subjects', tables' and rows being the likeliest.
    pub(crate) fn spot_to_read(&self, dice: &mut Dice) -> Spot {
        let shelf = dice.skewed(self.shelves.len());
        self.within(shelf, dice)
    }

    /// Any row, subjects by their weight.
    pub(crate) fn spot_to_write(&self, dice: &mut Dice) -> Spot {
        let mut left = dice.below(self.weights);
        for (at, shelf) in self.shelves.iter().enumerate() {
            if left < shelf.subject.weight {
                return self.within(at, dice);
            }
            left -= shelf.subject.weight;
        }
        self.within(0, dice)
    }

    fn within(&self, shelf: usize, dice: &mut Dice) -> Spot {
        let subject = self.shelves[shelf].subject;
        Spot { shelf, table: dice.skewed(subject.tables), row: dice.skewed(subject.rows) }
    }

    pub(crate) fn cell(&self, spot: Spot) -> &Cell {
        self.shelves[spot.shelf].cell(spot.table, spot.row)
    }

    /// What was lost before `then` is decided: see [`Cell::settle`]. What XA has prepared stays locked.
    pub(crate) fn settle(&self, then: u64) {
        for shelf in self.shelves.iter().filter(|shelf| shelf.subject.name != "xa") {
            shelf.cells.iter().for_each(|cell| cell.settle(then));
        }
    }

    pub(crate) fn unique(&self) -> u64 {
        self.unique.fetch_add(1, Ordering::Relaxed)
    }

    /// Microseconds since the begin.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or_default()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// What a read through a process promises.
    pub(crate) fn promise(&self, process: usize) -> Promise {
        if self.windowed { Promise::OwnAndArrived(process) } else { Promise::All }
    }

    /// What was acknowledged of every row.
    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.shelves.iter().flat_map(|shelf| &shelf.cells).map(|cell| cell.floor(Promise::All)).collect()
    }

    /// All that [`World::acknowledged`] once said has arrived at a process.
    pub(crate) fn has_arrived(&self, process: usize, versions: &[u64]) {
        let cells = self.shelves.iter().flat_map(|shelf| &shelf.cells);
        cells.zip(versions).for_each(|(cell, version)| cell.has_arrived(process, *version));
    }

    /// A new connection; waits while the proxy is away. `None` when all is over.
    pub(crate) fn connect(&self, deprecate_eof: bool, process: usize) -> Option<Client> {
        let opened = wait_until("the proxy to let a visitor in", Duration::from_secs(60), || {
            if self.is_over() {
                return Some(None);
            }
            let address = self.processes.lock()[process].address.clone();
            match Client::open(&address, deprecate_eof) {
                Ok(client) => Some(Some(client)),
                Err(failure) => {
                    self.note_failure("connect", &failure);
                    None
                }
            }
        });
        opened.unwrap_or_else(|error| {
            self.note_breach(format!("{error:#}"));
            None
        })
    }

    pub(crate) fn note_failure(&self, doing: &str, failure: &Failure) {
        let what = match failure {
            Failure::Refused(code, text) => {
                format!("{doing}: {code} {}", text.split(['\'', '`', '(']).next().unwrap_or_default())
            }
            Failure::Lost(_) => format!("{doing}: lost"),
        };
        *self.failures.lock().entry(what).or_default() += 1;
    }

    pub(crate) fn note_breach(&self, breach: String) {
        let trouble = self.trouble.lock().clone();
        let mut breaches = self.breaches.lock();
        breaches.push(format!("[{:.3} s, {trouble}] {breach}", self.now() as f64 / 1e6));
        if breaches.len() >= ENOUGH {
            self.over.store(true, Ordering::Relaxed);
        }
    }
}

impl Shelf {
    fn new(subject: &'static Subject) -> Self {
        let count = subject.tables * subject.rows;
        // Without a statement that makes it a row is not there; a sequence always has its one.
        let present = !subject.first.is_empty() || subject.name == "sequences";
        Self { subject, cells: (0..count).map(|_| Cell::new(present)).collect() }
    }

    fn cell(&self, table: usize, row: usize) -> &Cell {
        &self.cells[table * self.subject.rows + row]
    }
}

/// A read that is about to be sent: what it must reflect.
pub(crate) struct Expected<'a> {
    shelf: &'a Shelf,
    reading: &'static Reading,
    spot: Spot,
    /// Rows and what was acknowledged of them.
    floors: Vec<(usize, u64)>,
    begun: u64,
}

impl<'a> Expected<'a> {
    /// Taken before the read is sent.
    pub(crate) fn now(
        world: &'a World,
        (spot, last): (Spot, usize),
        reading: &'static Reading,
        process: usize,
    ) -> Self {
        let shelf = world.shelf(spot.shelf);
        let rows: Vec<usize> = match reading.sees {
            Sees::Row | Sees::Pair => vec![spot.row],
            Sees::Ends if last == spot.row => vec![last],
            Sees::Ends => vec![spot.row, last],
            Sees::Range => (spot.row..=last).collect(),
            Sees::Whole | Sees::Sum => (0..shelf.subject.rows).collect(),
        };
        let promise = world.promise(process);
        let floor = |row: usize| (row, shelf.cell(spot.table, row).floor(promise));
        Self { shelf, reading, spot, floors: rows.into_iter().map(floor).collect(), begun: world.now() }
    }

    /// What is wrong with these rows, if anything is.
    pub(crate) fn judge(&self, rows: &[Vec<Option<i64>>], memory: &mut Memory) -> Vec<String> {
        if self.reading.sees == Sees::Sum {
            let floor: u64 = self.floors.iter().map(|(_, floor)| floor).sum();
            let seen = rows.first().and_then(|row| row.first().copied().flatten()).unwrap_or(0);
            let seen = u64::try_from(seen).unwrap_or_default();
            let stale = (seen < floor).then_some(Breach::Stale { floor, seen: Some(seen) });
            let odd = (!seen.is_multiple_of(2)).then_some(Breach::NeverWritten { seen, begun: 0 });
            return stale.into_iter().chain(odd).map(|breach| self.say(self.spot.row, &breach)).collect();
        }
        let mut wrong = Vec::new();
        for (row, floor) in &self.floors {
            let number = i64::try_from(row + 1).ok();
            let found = rows.iter().find(|found| found.first() == Some(&number));
            let versions = found.map_or(&[][..], |found| &found[1..]);
            let cell = self.shelf.cell(self.spot.table, *row);
            let id = self.spot.shelf << 16 | self.spot.table << 8 | row;
            let seen = versions.first().copied().flatten();
            let place = self.reading.place;
            wrong
                .extend(judge(cell, *floor, seen, memory, (id, place)).map(|breach| self.say(*row, &breach)));
            if self.reading.sees == Sees::Pair {
                let other = versions.get(1).copied().flatten();
                wrong.extend(
                    judge(cell, *floor, other, memory, (id, place + 1)).map(|breach| self.say(*row, &breach)),
                );
                let torn = (seen != other).then_some(Breach::Torn { one: seen, other });
                wrong.extend(torn.map(|breach| self.say(*row, &breach)));
            }
        }
        wrong
    }

    /// A breach in words, with what is needed to understand it.
    pub(crate) fn say(&self, row: usize, breach: &Breach) -> String {
        let cell = self.shelf.cell(self.spot.table, row);
        let age = (self.begun as f64 - cell.acked_at() as f64) / 1e3;
        format!(
            "{} table {} row {}: {breach}; last acknowledged {age:.1} ms before the read began; written by {:?}",
            self.shelf.subject.name,
            self.spot.table,
            row + 1,
            cell.last_write(),
        )
    }
}

/// What a parameter of a prepared statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    Number(u64),
    Text(String),
}

/// The same as [`fill`], but what stands for itself becomes a parameter: numbers, and literals with one in them.
/// `None`: that statement takes none.
pub(crate) fn bind(text: &str, numbers: Numbers) -> Option<(String, Vec<Param>)> {
    const TAKE: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "CALL"];
    if text.contains(';') || !TAKE.iter().any(|verb| text.starts_with(verb)) {
        return None;
    }
    let mut params = Vec::new();
    let mut sql = String::new();
    for (at, piece) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            let is_bound = piece.contains('$');
            sql.push_str(&if is_bound { "?".to_owned() } else { format!("'{piece}'") });
            params.extend(is_bound.then(|| Param::Text(fill(piece, numbers))));
            continue;
        }
        let mut parts = piece.split('$');
        sql.push_str(parts.next().unwrap_or_default());
        for part in parts {
            // The number of a table is a part of its name.
            if part.starts_with('t') {
                sql.push_str(&numbers.of(b't').to_string());
            } else {
                sql.push('?');
                params.push(Param::Number(numbers.of(part.bytes().next().unwrap_or_default())));
            }
            sql.push_str(part.get(1..).unwrap_or_default());
        }
    }
    (!params.is_empty()).then_some((sql, params))
}

/// What stands in texts for `$` and a letter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) table: usize,
    pub(crate) row: usize,
    pub(crate) last: usize,
    pub(crate) version: u64,
    pub(crate) unique: u64,
}

impl Numbers {
    fn of(&self, letter: u8) -> u64 {
        match letter {
            b't' => self.table as u64,
            b'k' => self.row as u64 + 1,
            b'l' => self.last as u64 + 1,
            b'n' => self.version,
            b'u' => self.version + 1,
            _ => self.unique,
        }
    }
}

/// Puts numbers into a text; rows are counted from 1 there.
pub(crate) fn fill(text: &str, numbers: Numbers) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut parts = text.split('$');
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        filled.push_str(&numbers.of(part.bytes().next().unwrap_or_default()).to_string());
        filled.push_str(part.get(1..).unwrap_or_default());
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_literals_become_parameters_and_names_do_not() {
        let numbers = Numbers { table: 3, row: 4, version: 8, ..Numbers::default() };
        let (sql, params) =
            bind("UPDATE names_$t SET v = $n WHERE name = 'name:$k' AND x = 'y'", numbers).unwrap();
        assert_eq!(sql, "UPDATE names_3 SET v = ? WHERE name = ? AND x = 'y'");
        assert_eq!(params, [Param::Number(8), Param::Text("name:5".to_owned())]);
        assert_eq!(bind("TRUNCATE TABLE t_$t", numbers), None);
        assert_eq!(bind("SELECT id FROM t_$t", numbers), None);
    }
}
