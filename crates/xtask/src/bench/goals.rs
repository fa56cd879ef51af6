//! What docs/performance.md must say of each goal: that it is reached, or by how much it is missed and what limits it.

/// The goals, as the page's table names them.
const GOALS: [&str; 12] = [
    "CPU per point select, 16 clients: at most 1.15 of the relay's",
    "point selects, 16 clients: at least 0.55 of direct",
    "point selects, 128 clients: at least 0.90 of direct",
    "point selects, 1 client: the relay's",
    "prepared point selects, 16 clients: at least 0.70 of direct",
    "OLTP read-only, 16 clients: at least 0.75 of direct",
    "OLTP read-write, 8 clients: at least 0.80 of direct",
    "1 GiB result: at least 0.95 of HAProxy's throughput, memory flat",
    "idle client: at most 4 KiB",
    "scaling from 1 core to 2: as the relay's",
    "10,000 clients of which 100 are busy: at most 1.10 of 100 alone a query",
    "PHP's pattern: faster than direct with 0.5 ms, on loopback 1.25 of HAProxy's and 0.70 of direct",
];

/// What is wrong with the page's table of goals.
fn faults(page: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for goal in GOALS {
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter(|line| line.starts_with(&format!("| {goal} |")))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let [row] = rows.as_slice() else {
            faults.push(format!("{} rows for: {goal}", rows.len()));
            continue;
        };
        let [_, measured, verdict, limit] = row.as_slice() else {
            faults.push(format!("not four cells: {goal}"));
            continue;
        };
        let missed = verdict.strip_prefix("missed by ").is_some_and(|by| !by.is_empty());
        let told = measured.contains(|c: char| c.is_ascii_digit());
        if !told || !(*verdict == "reached" || missed && !limit.is_empty()) {
            faults.push(format!("neither reached nor missed by so much for this reason: {goal}"));
        }
    }
    let missed = page.contains("| missed by ");
    if missed && !["## What limits it", "## What was tried"].iter().all(|part| page.contains(part)) {
        faults
            .push("goals are missed, and nothing is said of what limits them and what was tried".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::workspace;

    #[test]
    fn every_goal_is_reached_or_said_to_be_missed_by_how_much_and_why() {
        let page = std::fs::read_to_string(workspace().join("docs/performance.md")).unwrap();
        assert_eq!(faults(&page), Vec::<String>::new());
    }

    #[test]
    fn a_goal_of_which_nothing_is_said_is_a_fault() {
        let row = |goal: &str, rest: &str| format!("| {goal} | {rest} |\n");
        let page: String = GOALS.iter().map(|goal| row(goal, "1.00 | reached | ")).collect();
        assert!(faults(&page).is_empty());
        assert_eq!(faults(&page.replacen(GOALS[3], "another", 1)).len(), 1);
        assert_eq!(faults(&page.replacen("1.00", "not measured", 1)).len(), 1);
        assert_eq!(faults(&page.replacen("reached", "nearly", 1)).len(), 1);
        let missed = page.replacen("reached | ", "missed by 0.10 | the kernel", 1);
        assert_eq!(faults(&missed).len(), 1, "the parts of the page are missing");
        assert!(faults(&format!("{missed}## What limits it\n## What was tried\n")).is_empty());
        assert_eq!(faults(&page.replacen("reached | ", "missed by 0.10 | ", 1)).len(), 2);
    }
}
