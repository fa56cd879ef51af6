//! Accepting clients: sockets, the connection limit, and patience when accepting fails. Owns the
//! listening sockets; must not know the protocol.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};

use crate::cores::Place;
use crate::error::{ClientError, Fault, StartError};
use crate::net::{Buffered, Stream, tune};
use crate::session;
use crate::settings::{Address, Listen, Route};
use crate::shared::{Shared, View};
use crate::tls::ClientTls;

/// Clients that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound listener.
pub(crate) struct Listener {
    socket: Socket,
    door: Door,
    /// As bound, with the real port.
    pub(crate) address: String,
}

/// What holds for whoever comes in by a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Door {
    pub(crate) route: Route,
    pub(crate) tls: ClientTls,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds all of them, or none.
pub(crate) async fn bind(listen: &Listen) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for one in &listen.mysql {
        let door = Door { route: one.route, tls: one.tls };
        let failed = |source| StartError::Listen { address: one.address.to_string(), source };
        match &one.address {
            Address::Tcp { host, port } => {
                let addresses: Vec<SocketAddr> =
                    lookup_host((host.as_str(), *port)).await.map_err(failed)?.collect();
                for address in addresses {
                    let socket = bind_tcp(address).map_err(failed)?;
                    let address = socket.local_addr().map_err(failed)?.to_string();
                    listeners.push(Listener { socket: Socket::Tcp(socket), door, address });
                }
            }
            Address::Unix(path) => {
                // Its file, what was left there before and its mode are the business of whoever starts us.
                let socket = Socket::Unix(UnixListener::bind(path).map_err(failed)?);
                listeners.push(Listener { socket, door, address: one.address.to_string() });
            }
        }
    }
    Ok(listeners)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Linux gives whoever is accepted the options of the listening socket: five system calls less for each.
    tune(&socket)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the drain begins, on the core of that number.
pub(crate) async fn run(listener: Listener, shared: Arc<Shared>, here: usize) {
    let Listener { socket, door, address } = listener;
    let socket = match socket.moved() {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%address, %error, "cannot accept"),
    };
    let mut patience = Duration::from_millis(5);
    loop {
        let accepted = tokio::select! {
            () = shared.draining.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(client) => {
                patience = Duration::from_millis(5);
                admit(&shared, client, door, here);
            }
            Err(error) => {
                // Out of descriptors, most often: waiting lets some be closed.
                tracing::warn!(%address, %error, "cannot accept; trying again");
                tokio::time::sleep(patience).await;
                patience = (patience * 2).min(Duration::from_secs(1));
            }
        }
    }
}

/// Somebody who came in.
struct Client {
    stream: Stream,
    peer: String,
    ip: Option<IpAddr>,
}

impl Socket {
    /// On the core that calls, wherever it was bound.
    fn moved(self) -> io::Result<Self> {
        Ok(match self {
            Socket::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket.into_std()?)?),
            Socket::Unix(socket) => Socket::Unix(UnixListener::from_std(socket.into_std()?)?),
        })
    }

    async fn accept(&self) -> io::Result<Client> {
        match self {
            Socket::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                Ok(Client { stream: Stream::Tcp(stream), peer: peer.to_string(), ip: Some(peer.ip()) })
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok(Client { stream: Stream::Unix(stream), peer: "unix".to_owned(), ip: None })
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, client: Client, door: Door, here: usize) {
    let limit = shared.settings.load().limits.client_connections;
    shared.metrics.client_connections_total.inc();
    let Client { stream, peer, ip } = client;
    let mut client = Buffered::new(stream);
    let Some(view) = shared.clients.enter(peer, limit) else {
        shared.metrics.refused(Fault::Limit);
        shared.tasks.spawn(turn_away(client, limit));
        return;
    };
    let place = shared.cores.place(here);
    let core = place.at;
    client.use_room(&shared.local(core).room);
    client.is_elsewhere(core != here);
    let session = session::serve(Arc::clone(shared), client, ip, (door, core), Arc::clone(&view));
    spawn(shared, &view, place, session);
}

/// Runs a session in its place, to its end or to the end of the proxy, whichever comes first.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    view: &Arc<View>,
    place: Place,
    session: impl Future<Output = ()> + Send + 'static,
) {
    let guard = ClientGuard::new(shared, view);
    let view = Arc::clone(view);
    let runtime = shared.cores.runtime(place.at);
    let session = async move {
        let _guard = (guard, place);
        view.ending.attend(Box::pin(session)).await;
    };
    shared.sessions.spawn_on(session, &runtime);
}

/// The error takes the greeting's place, as servers do it.
async fn turn_away(mut client: Buffered, limit: usize) {
    let error = ClientError::too_many_clients(limit, "limits.client_connections");
    let mut payload = bytes::BytesMut::new();
    error.packet().encode_before_handshake(&mut payload);
    let write = session::login::send(&mut client, 0, &payload);
    let _ = tokio::time::timeout(Duration::from_secs(1), write).await;
}

/// Whatever ends a session, a panic included, frees its place and is counted.
struct ClientGuard {
    shared: Arc<Shared>,
    id: u32,
}

impl ClientGuard {
    fn new(shared: &Arc<Shared>, view: &View) -> Self {
        shared.metrics.client_connections.inc();
        Self { shared: Arc::clone(shared), id: view.id }
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        self.shared.metrics.client_connections.dec();
        self.shared.clients.leave(self.id);
        if std::thread::panicking() {
            self.shared.metrics.panics.inc();
            self.shared.metrics.error(Fault::Internal);
            tracing::error!(client = self.id, "a session panicked and was closed: please report this");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_accepted_has_the_options_of_the_listening_socket() {
        let listener = bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let options = socket2::SockRef::from(&accepted);
        assert!(options.tcp_nodelay().unwrap() && options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), Duration::from_secs(60));
        assert_eq!(options.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(options.tcp_keepalive_retries().unwrap(), 6);
    }
}
