//! What is kept of passwords that were shown, and for how long.

use clonelove_route::report::Flavour;
use clonelove_wire::auth::crypt::Crypt;
use clonelove_wire::auth::{NATIVE, SHA2};

use super::*;

fn account(plugin: &str, text: &[u8]) -> Account {
    Account {
        user: "app".to_owned(),
        host: "%".to_owned(),
        ways: vec![(plugin.to_owned(), text.to_vec())],
        locked: false,
        tls: false,
        max_connections: 0,
        watched: false,
    }
}

fn accounts(plugin: &str, text: &[u8]) -> (Accounts, Arc<Account>) {
    let accounts = Accounts::new(Metrics::new("0", "test").unwrap());
    accounts.publish(Table::new(vec![account(plugin, text)], Flavour::MySql, true));
    let found = accounts.find(b"app", None).unwrap();
    (accounts, found)
}

/// As `caching_sha2_password` keeps it.
const KEPT: &[u8] = b"$A$005$abcdefghijklmnopqrst1234567890123456789012345678901234567890123";

fn shown(accounts: &Accounts, account: &Account) -> usize {
    let known = accounts.credentials(account);
    known.iter().filter(|known| matches!(known, Credential::Password(_))).count()
}

#[test]
fn a_password_is_kept_where_the_hash_opens_no_server_and_as_long_as_that_hash() {
    assert!(Crypt::of_caching_sha2(KEPT).is_some());
    let (known, account_of) = accounts(SHA2, KEPT);
    for password in ["one", "one", "two", "three", ""] {
        known.remember(&account_of, &Password::new(password));
    }
    assert_eq!(shown(&known, &account_of), 2, "the last two");
    known.publish(Table::new(vec![account(SHA2, KEPT)], Flavour::MySql, true));
    assert_eq!(shown(&known, &account_of), 2, "nothing has changed");
    let other = [&KEPT[..KEPT.len() - 1], b"x"].concat();
    known.publish(Table::new(vec![account(SHA2, &other)], Flavour::MySql, true));
    let now = known.find(b"app", None).unwrap();
    assert_eq!((shown(&known, &now), shown(&known, &account_of)), (0, 0), "another password");

    let (known, account_of) = accounts(NATIVE, b"*0123456789ABCDEF0123456789ABCDEF01234567");
    known.remember(&account_of, &Password::new("one"));
    assert_eq!(shown(&known, &account_of), 0, "the hash is enough");
}

#[test]
fn nobody_gets_in_by_what_stands_for_an_account_that_does_not_exist() {
    let (known, _) = accounts(SHA2, KEPT);
    for mariadb in [false, true] {
        let decoy = known.decoy(mariadb);
        assert_eq!(decoy.len(), 1);
        assert!(!decoy.iter().any(|known| known.is_of(b"") || known.is_of(b"unknown")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_in_waits_for_a_reading_that_was_begun_after_it() {
    let (known, _) = accounts(SHA2, KEPT);
    let known = Arc::new(known);
    known.begin();
    let waits = Arc::clone(&known);
    let waiting = async move { waits.look_again().await };
    let mut waiting = std::pin::pin!(waiting);
    assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
    // The one that was under way may have seen too little.
    known.publish(Table::default());
    assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
    known.begin();
    known.publish(Table::default());
    assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_ok());
}
