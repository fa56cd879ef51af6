//! Who is behind a proxy that is believed: reads the header of the PROXY protocol that must come before all else from the
//! networks of `listen.proxy_protocol`. From others none is taken: it would be anybody's word.

use std::net::IpAddr;

use bytes::Buf;
use clonelove_wire::proxied::{Header, LONGEST, Proxied, parse};

use super::login::NoLogin;
use crate::error::ClientError;
use crate::net::Buffered;
use crate::shared::{Shared, View};

/// The client's address: the one that its proxy tells, where that must tell one; else its own.
pub(super) async fn behind(
    shared: &Shared,
    client: &mut Buffered,
    peer: Option<IpAddr>,
    view: &View,
) -> Result<Option<IpAddr>, NoLogin> {
    let settings = shared.settings.load_full();
    let told = &settings.listen.proxy_protocol;
    if !peer.is_some_and(|ip| told.iter().any(|network| network.contains(ip))) {
        return Ok(peer);
    }
    loop {
        match parse(&client.input) {
            Ok(Header::Whole(proxied, used)) => {
                client.input.advance(used);
                let Proxied::From(address) = proxied else { return Ok(peer) };
                let _ = view.behind.set(address.to_string());
                return Ok(Some(address.ip().to_canonical()));
            }
            Ok(Header::Partial) if client.input.len() < LONGEST => {
                if client.fill().await? == 0 {
                    return Err(NoLogin::Left);
                }
            }
            Ok(Header::Partial) => return Err(broken("it does not end")),
            Err(malformed) => return Err(broken(&malformed.to_string())),
        }
    }
}

/// It is told nothing: what it would make of a packet is not known.
fn broken(why: &str) -> NoLogin {
    NoLogin::Refused(ClientError::malformed(&format!(
        "{why}; it comes from a network of listen.proxy_protocol, and must begin with a header of the PROXY protocol"
    )))
}
