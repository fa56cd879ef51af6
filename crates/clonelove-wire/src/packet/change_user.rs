//! COM_CHANGE_USER: authenticate anew on a connection that is open.
//!
//! Sources: <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_change_user.html>,
//! <https://mariadb.com/kb/en/com_change_user/>.

use bytes::{BufMut, BytesMut};

use super::response::{put_attributes, read_attributes};
use crate::read::Reader;
use crate::write::PutExt;
use crate::{Caps, Command, Malformed};

/// The payload of a COM_CHANGE_USER.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ChangeUser {
    /// The user's name.
    pub user: Vec<u8>,
    /// The answer to the connection's challenge.
    pub auth: Vec<u8>,
    /// The schema to begin in; never an empty name.
    pub database: Option<Vec<u8>>,
    /// The collation, both bytes, where the client sent it.
    pub charset: Option<u16>,
    /// The authentication that `auth` was made by.
    pub auth_plugin: Option<String>,
    /// The connection attributes.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ChangeUser {
    /// Reads a COM_CHANGE_USER, command byte included; `caps` is what was negotiated.
    pub fn parse(payload: &[u8], caps: Caps) -> Result<ChangeUser, Malformed> {
        let mut reader = Reader::new(payload, "COM_CHANGE_USER");
        if reader.u8()? != Command::ChangeUser.as_byte() {
            return Err(reader.malformed("it begins with another command"));
        }
        let mut out = ChangeUser { user: reader.nul_bytes()?.to_vec(), ..ChangeUser::default() };
        out.auth = if caps.contains(Caps::SECURE_CONNECTION) {
            let len = reader.u8()?;
            reader.bytes(len.into())?.to_vec()
        } else {
            reader.nul_bytes()?.to_vec()
        };
        let database = reader.nul_or_rest();
        out.database = (!database.is_empty()).then(|| database.to_vec());
        if !reader.is_empty() {
            out.charset = Some(reader.u16()?);
        }
        if caps.contains(Caps::PLUGIN_AUTH) && !reader.is_empty() {
            out.auth_plugin = Some(String::from_utf8_lossy(reader.nul_or_rest()).into_owned());
        }
        if caps.contains(Caps::CONNECT_ATTRS) && !reader.is_empty() {
            read_attributes(&mut reader, &mut out.attributes)?;
        }
        Ok(out)
    }

    /// The payload, for a server with which `caps` was negotiated. A field ends the packet when the ones
    /// after it cannot be sent without it: without a charset there is no plugin and no attribute.
    #[must_use]
    pub fn encode(&self, caps: Caps) -> BytesMut {
        let mut out = BytesMut::with_capacity(128);
        out.put_u8(Command::ChangeUser.as_byte());
        out.put_nul(&self.user);
        if caps.contains(Caps::SECURE_CONNECTION) {
            let len = u8::try_from(self.auth.len()).unwrap_or(u8::MAX);
            out.put_u8(len);
            out.put_slice(self.auth.get(..len.into()).unwrap_or(&self.auth));
        } else {
            out.put_nul(&self.auth);
        }
        out.put_nul(self.database.as_deref().unwrap_or_default());
        let Some(charset) = self.charset else {
            return out;
        };
        out.put_u16_le(charset);
        if caps.contains(Caps::PLUGIN_AUTH) {
            out.put_nul(self.auth_plugin.as_deref().unwrap_or(crate::auth::NATIVE).as_bytes());
        }
        if caps.contains(Caps::CONNECT_ATTRS) {
            put_attributes(&mut out, &self.attributes);
        }
        out
    }
}

/// Without `auth`, which may hold a password as it is.
impl core::fmt::Debug for ChangeUser {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ChangeUser")
            .field("user", &String::from_utf8_lossy(&self.user))
            .field("database", &self.database.as_deref().map(String::from_utf8_lossy))
            .field("charset", &self.charset)
            .field("auth_plugin", &self.auth_plugin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
