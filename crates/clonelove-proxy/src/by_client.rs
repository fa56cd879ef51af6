//! Whether a server's `read_only` is a client's doing. Owns that knowledge; what follows for who is primary is the
//! election's.
//!
//! Who operates the servers makes a primary read-only to take its role away. A client of ours that says SET GLOBAL
//! read_only means a setting, and goes on speaking to that server: it refuses writes in its own words, and takes the
//! statement that ends it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

/// What clients have said to one server.
#[derive(Debug, Default)]
pub(crate) struct ByClient(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// Statements on their way.
    under_way: u32,
    /// When the last of them ended, until the server is seen writable after that.
    last: Option<Instant>,
}

/// A statement that says it is on its way.
#[derive(Debug)]
pub(crate) struct Saying(Arc<ByClient>);

impl ByClient {
    /// A statement is about to be sent that may change it: whoever looks at the server meanwhile may see it changed.
    pub(crate) fn begin(self: &Arc<Self>) -> Saying {
        let mut said = self.0.lock();
        said.under_way = said.under_way.saturating_add(1);
        Saying(Arc::clone(self))
    }

    /// Somebody who began to look at that moment found the server so. Who makes it read-only again after it was
    /// writable may be another.
    pub(crate) fn seen(&self, read_only: bool, begun: Instant) {
        let mut said = self.0.lock();
        if !read_only && said.last.is_some_and(|last| last < begun) {
            said.last = None;
        }
    }

    /// The server restarted, or is another: what it begins with is its operator's word.
    pub(crate) fn forget(&self) {
        self.0.lock().last = None;
    }

    /// Whether it may be read-only because a client said so.
    pub(crate) fn holds(&self) -> bool {
        let said = self.0.lock();
        said.under_way > 0 || said.last.is_some()
    }
}

impl Drop for Saying {
    fn drop(&mut self) {
        let mut said = self.0.0.lock();
        said.under_way = said.under_way.saturating_sub(1);
        said.last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_the_clients_from_before_the_statement_until_the_server_was_writable_after_it() {
        let said = Arc::new(ByClient::default());
        let step = || tokio::time::advance(Duration::from_millis(1));
        said.seen(true, Instant::now());
        assert!(!said.holds(), "an operator's");
        let saying = said.begin();
        assert!(said.holds(), "it may be seen before its reply is");
        let before = Instant::now();
        step().await;
        drop(saying);
        said.seen(false, before);
        assert!(said.holds(), "seen before it was said");
        step().await;
        said.seen(true, Instant::now());
        assert!(said.holds());
        said.seen(false, Instant::now());
        assert!(!said.holds());
        drop(said.begin());
        said.forget();
        assert!(!said.holds(), "a restart");
    }
}
