//! Who a client is: a user of the configuration, or an account of the primary; what its proof is compared with, and with
//! what it goes to the servers. Must not speak to it: the exchange is `login`'s.

use std::net::IpAddr;
use std::sync::Arc;

use clonelove_wire::auth::{Credential, Login, Secret as Password};
use clonelove_wire::handshake::server::Established;

use crate::accounts::Account;
use crate::backend::login::Account as ServerAccount;
use crate::settings::{Route, Secret, Settings, User, UsersFrom};
use crate::shared::Shared;
use crate::tls::ClientTls;

/// Whom a client claims to be.
#[derive(Clone, Default)]
pub(super) struct Identity {
    user: Option<User>,
    /// Where it is one of the primary's.
    account: Option<Arc<Account>>,
    /// What its proof is compared with.
    credentials: Vec<Credential>,
}

impl Identity {
    /// Looks a name up, in the configuration first. One that the primary's accounts do not have is asked for again.
    pub(super) async fn find(
        shared: &Shared,
        settings: &Settings,
        (name, address): (&[u8], Option<IpAddr>),
        mariadb: bool,
    ) -> Self {
        let configured = settings.users.iter().any(|user| user.name.as_bytes() == name);
        if configured || settings.users_from == UsersFrom::Config {
            return Self::configured(settings, name, address);
        }
        shared.accounts.first_reading().await;
        shared.accounts.catch_up().await;
        let found = match shared.accounts.find(name, address) {
            None => {
                shared.accounts.look_again().await;
                shared.accounts.find(name, address)
            }
            found => found,
        };
        match found {
            Some(account) => Self::learnt(shared, name, account, mariadb),
            None => Self { credentials: shared.accounts.decoy(mariadb), ..Self::default() },
        }
    }

    fn configured(settings: &Settings, name: &[u8], address: Option<IpAddr>) -> Self {
        let user = find_user(&settings.users, name, address);
        let passwords = user.map(|user| user.passwords.as_slice()).unwrap_or_default();
        let known = |secret: &Secret| Credential::Password(Password::new(secret.expose()));
        Self { user: user.cloned(), account: None, credentials: passwords.iter().map(known).collect() }
    }

    fn learnt(shared: &Shared, name: &[u8], account: Arc<Account>, mariadb: bool) -> Self {
        let mut credentials = shared.accounts.credentials(&account);
        if credentials.is_empty() {
            let ways: Vec<&str> = account.ways.iter().map(|(plugin, _)| plugin.as_str()).collect();
            tracing::info!(
                account = account.name(),
                ways = ways.join(", "),
                "an account cannot be used here: none of the ways in which the server lets it in can be carried on; \
                 give it a password, or name it by [[user]]"
            );
            credentials = shared.accounts.decoy(mariadb);
        }
        let user = User {
            name: String::from_utf8_lossy(name).into_owned(),
            passwords: Vec::new(),
            max_connections: account.max_connections,
            networks: Vec::new(),
            route: Route::Split,
            tls: if account.tls { ClientTls::Required } else { ClientTls::Optional },
            admin: false,
        };
        Self { user: Some(user), account: Some(account), credentials }
    }

    /// After a proof that failed: the same once more, if the primary knows the account otherwise by now.
    pub(super) async fn changed(
        &self,
        shared: &Shared,
        name: &[u8],
        address: Option<IpAddr>,
    ) -> Option<Self> {
        let before = self.account.as_ref()?;
        shared.accounts.look_again().await;
        let now = shared.accounts.find(name, address)?;
        let same = now.name() == before.name() && now.ways == before.ways;
        (!same).then(|| Self::learnt(shared, name, now, true))
    }

    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    pub(super) fn credentials(&self) -> Vec<Credential> {
        self.credentials.clone()
    }

    /// Whether the server would not let it in, whatever it proves.
    pub(super) fn is_locked(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.locked)
    }

    /// Whether the server itself has to say if it may come in, each time.
    pub(super) fn is_watched(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.watched)
    }

    /// Whether the account signs, and its password was never shown: it must be, once, where nobody can listen.
    pub(super) fn must_show(&self) -> bool {
        !self.credentials.is_empty()
            && self.credentials.iter().all(|known| matches!(known, Credential::Ed25519(_)))
    }

    /// With what it goes to the servers.
    pub(super) fn account(
        &self,
        shared: &Shared,
        established: &Established,
        from: Option<IpAddr>,
    ) -> ServerAccount {
        let user = self.user.as_ref().map(|user| user.name.as_str()).unwrap_or_default();
        let logins = match &self.account {
            Some(account) => {
                if let Some(password) = established.login.password() {
                    shared.accounts.remember(account, password);
                }
                vec![established.login.clone()]
            }
            None => {
                let passwords = self.user.as_ref().map(|user| user.passwords.as_slice()).unwrap_or_default();
                passwords.iter().map(|secret| Login::Password(Password::new(secret.expose()))).collect()
            }
        };
        ServerAccount {
            user: Arc::from(user),
            name: self.account.as_ref().map(|account| Arc::from(account.name())),
            logins,
            from,
            rights: shared.accounts.changes(),
            watched: self.is_watched(),
            program: program(&established.response.attributes),
        }
    }
}

/// What a client calls itself, cut to what a server keeps without dropping the rest.
fn program(attributes: &[(Vec<u8>, Vec<u8>)]) -> Option<String> {
    const MOST: usize = 64;
    let named = |wanted: &[u8]| attributes.iter().find(|(name, _)| name == wanted);
    let (_, program) = named(b"program_name").or_else(|| named(b"_client_name"))?;
    let program = String::from_utf8_lossy(program);
    Some(program.chars().filter(|char| !char.is_control()).take(MOST).collect())
}

fn find_user<'a>(users: &'a [User], name: &[u8], address: Option<IpAddr>) -> Option<&'a User> {
    users.iter().find(|user| {
        user.name.as_bytes() == name
            && (user.networks.is_empty()
                || address.is_none_or(|ip| user.networks.iter().any(|network| network.contains(ip))))
    })
}
