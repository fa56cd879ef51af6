//! The packets of an authentication that goes on after the handshake response.
//!
//! Sources:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_switch_request.html>,
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_auth_more_data.html>.

use bytes::{BufMut, BytesMut};

use super::greeting::SALT;
use crate::Malformed;
use crate::read::Reader;
use crate::write::PutExt;

/// The server asks for another plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSwitch<'a> {
    /// The plugin's name.
    pub plugin: &'a [u8],
    /// Its challenge, without the NUL byte that ends one of 20 bytes.
    pub data: &'a [u8],
}

impl<'a> AuthSwitch<'a> {
    /// The head of the packet.
    pub const HEAD: u8 = 0xFE;

    /// Reads an AuthSwitchRequest. The one-byte form, which asks for the authentication from before 4.1, is
    /// malformed here: nobody should answer it.
    pub fn parse(payload: &'a [u8]) -> Result<AuthSwitch<'a>, Malformed> {
        let mut reader = Reader::new(payload, "AuthSwitchRequest");
        if reader.u8()? != Self::HEAD {
            return Err(reader.malformed("it does not begin with 0xFE"));
        }
        if reader.is_empty() {
            return Err(reader.malformed("the server asks for the authentication from before 4.1"));
        }
        let plugin = reader.nul_or_rest();
        let data = reader.rest();
        // Challenges of other lengths (ed25519: 32 bytes) have no NUL, and may end in one by chance.
        let data = if data.len() == SALT_WITH_NUL { data.strip_suffix(&[0]).unwrap_or(data) } else { data };
        Ok(AuthSwitch { plugin, data })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(Self::HEAD);
        out.put_nul(self.plugin);
        out.put_slice(self.data);
        if self.data.len() == SALT {
            out.put_u8(0);
        }
    }
}

/// The plugin on the server says something to the plugin on the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthMore<'a>(pub &'a [u8]);

impl<'a> AuthMore<'a> {
    /// The head of the packet.
    pub const HEAD: u8 = 0x01;

    /// Reads an AuthMoreData.
    pub fn parse(payload: &'a [u8]) -> Result<AuthMore<'a>, Malformed> {
        let mut reader = Reader::new(payload, "AuthMoreData");
        if reader.u8()? != Self::HEAD {
            return Err(reader.malformed("it does not begin with 0x01"));
        }
        Ok(AuthMore(reader.rest()))
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(Self::HEAD);
        out.put_slice(self.0);
    }
}

const SALT_WITH_NUL: usize = 21;

#[cfg(test)]
mod tests;
