//! The client's answer to the greeting (`Protocol::HandshakeResponse41`), and the SSLRequest that may come before it.
//!
//! Sources:
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase_packets_protocol_handshake_response.html>,
//! <https://mariadb.com/kb/en/connection/#client-handshake-response>.

use bytes::{BufMut, BytesMut};

use crate::read::Reader;
use crate::write::PutExt;
use crate::{Caps, Malformed};

/// What a client says of itself, and its first word of authentication.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// What the client wants, MariaDB's extended flags included; not yet cut to what was on offer.
    pub caps: Caps,
    /// The longest packet the client takes, in bytes.
    pub max_packet: u32,
    /// The collation; the protocol has only its low byte here.
    pub charset: u8,
    /// The user's name.
    pub user: Vec<u8>,
    /// The answer to the challenge.
    pub auth: Vec<u8>,
    /// The schema to begin in; never an empty name.
    pub database: Option<Vec<u8>>,
    /// The authentication that `auth` was made by.
    pub auth_plugin: Option<String>,
    /// The connection attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The level of zstd compression.
    pub zstd_level: Option<u8>,
}

impl Response {
    /// Reads a response. `server_caps` is what the greeting offered: MariaDB's extended flags count only if it
    /// had any on offer.
    pub fn parse(payload: &[u8], server_caps: Caps) -> Result<Response, Malformed> {
        let mut reader = Reader::new(payload, "handshake response");
        let Prefix { caps, max_packet, charset } = prefix(&mut reader, server_caps)?;
        let user = reader.nul_bytes()?.to_vec();
        let auth = if caps.contains(Caps::PLUGIN_AUTH_LENENC) {
            reader.lenenc_bytes()?
        } else if caps.contains(Caps::SECURE_CONNECTION) {
            let len = reader.u8()?;
            reader.bytes(len.into())?
        } else {
            reader.nul_or_rest()
        }
        .to_vec();
        let database = if caps.contains(Caps::CONNECT_WITH_DB) { reader.nul_or_rest() } else { &[] };
        let auth_plugin = (caps.contains(Caps::PLUGIN_AUTH) && !reader.is_empty())
            .then(|| String::from_utf8_lossy(reader.nul_or_rest()).into_owned());
        let mut attributes = Vec::new();
        if caps.contains(Caps::CONNECT_ATTRS) && !reader.is_empty() {
            read_attributes(&mut reader, &mut attributes)?;
        }
        let zstd_level =
            if caps.contains(Caps::ZSTD) && !reader.is_empty() { Some(reader.u8()?) } else { None };
        Ok(Response {
            caps,
            max_packet,
            charset,
            user,
            auth,
            database: (!database.is_empty()).then(|| database.to_vec()),
            auth_plugin,
            attributes,
            zstd_level,
        })
    }

    /// The payload of this response. The flags that say which fields follow are taken from the fields, except
    /// that PLUGIN_AUTH_LENENC and SECURE_CONNECTION say how `auth` is written.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(256);
        let caps = self.encoded_caps();
        put_prefix(&mut out, caps, self.max_packet, self.charset);
        out.put_nul(&self.user);
        if caps.contains(Caps::PLUGIN_AUTH_LENENC) {
            out.put_lenenc_bytes(&self.auth);
        } else if caps.contains(Caps::SECURE_CONNECTION) {
            let len = u8::try_from(self.auth.len()).unwrap_or(u8::MAX);
            out.put_u8(len);
            out.put_slice(self.auth.get(..len.into()).unwrap_or(&self.auth));
        } else {
            out.put_nul(&self.auth);
        }
        if let Some(database) = &self.database {
            out.put_nul(database);
        }
        if let Some(plugin) = &self.auth_plugin {
            out.put_nul(plugin.as_bytes());
        }
        if caps.contains(Caps::CONNECT_ATTRS) {
            put_attributes(&mut out, &self.attributes);
        }
        if let Some(level) = self.zstd_level {
            out.put_u8(level);
        }
        out
    }

    /// Whether `payload` is an SSLRequest: a response that ends before the user's name and asks for TLS.
    #[must_use]
    pub fn is_ssl_request(payload: &[u8]) -> bool {
        payload.len() == SSL_REQUEST
            && Reader::new(payload, "").u32().is_ok_and(|bits| Caps::from_halves(bits, 0).contains(Caps::SSL))
    }

    /// The payload of the SSLRequest that goes before this response.
    #[must_use]
    pub fn encode_ssl_request(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(SSL_REQUEST);
        put_prefix(&mut out, self.encoded_caps() | Caps::SSL, self.max_packet, self.charset);
        out
    }

    fn encoded_caps(&self) -> Caps {
        let mut caps = self.caps | Caps::PROTOCOL_41;
        caps.set(Caps::CONNECT_WITH_DB, self.database.is_some());
        caps.set(Caps::PLUGIN_AUTH, self.auth_plugin.is_some());
        caps.set(Caps::ZSTD, self.zstd_level.is_some());
        caps
    }
}

/// Without `auth`, which may hold a password as it is.
impl core::fmt::Debug for Response {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Response")
            .field("caps", &self.caps)
            .field("charset", &self.charset)
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("database", &self.database.as_deref().map(String::from_utf8_lossy))
            .field("auth_plugin", &self.auth_plugin)
            .finish_non_exhaustive()
    }
}

/// The length of an SSLRequest, and of what begins a response.
const SSL_REQUEST: usize = 32;

struct Prefix {
    caps: Caps,
    max_packet: u32,
    charset: u8,
}

fn prefix(reader: &mut Reader<'_>, server_caps: Caps) -> Result<Prefix, Malformed> {
    // A response from before 4.1 begins with 16 bits of flags, and its packet may end soon after them.
    let mut peek = *reader;
    if !Caps::from_halves(peek.u16()?.into(), 0).contains(Caps::PROTOCOL_41) {
        return Err(
            reader.malformed("the client speaks the protocol from before 4.1, which is not supported")
        );
    }
    let base = reader.u32()?;
    let max_packet = reader.u32()?;
    let charset = reader.u8()?;
    reader.bytes(19)?;
    let extended = reader.u32()?;
    let caps = Caps::from_halves(base, 0);
    let mariadb = !caps.contains(Caps::CLIENT_MYSQL) && !server_caps.contains(Caps::CLIENT_MYSQL);
    let caps = if mariadb { Caps::from_halves(base, extended) } else { caps };
    Ok(Prefix { caps, max_packet, charset })
}

fn put_prefix(out: &mut BytesMut, caps: Caps, max_packet: u32, charset: u8) {
    out.put_u32_le(caps.base());
    out.put_u32_le(max_packet);
    out.put_u8(charset);
    out.put_slice(&[0; 19]);
    out.put_u32_le(if caps.contains(Caps::CLIENT_MYSQL) { 0 } else { caps.extended() });
}

pub(super) fn read_attributes(
    reader: &mut Reader<'_>,
    out: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), Malformed> {
    let mut block = Reader::new(reader.lenenc_bytes()?, "connection attributes");
    while !block.is_empty() {
        out.push((block.lenenc_bytes()?.to_vec(), block.lenenc_bytes()?.to_vec()));
    }
    Ok(())
}

pub(super) fn put_attributes(out: &mut BytesMut, attributes: &[(Vec<u8>, Vec<u8>)]) {
    let mut block = BytesMut::new();
    for (name, value) in attributes {
        block.put_lenenc_bytes(name);
        block.put_lenenc_bytes(value);
    }
    out.put_lenenc_bytes(&block);
}

#[cfg(test)]
mod tests;
