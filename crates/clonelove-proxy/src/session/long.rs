//! Packets that are read only to be forgotten, in constant memory. Owns nothing else.

use bytes::{Buf, BytesMut};
use clonelove_wire::frame::{FrameHead, MAX_FRAME};

use super::ClientSession;

impl ClientSession {
    /// Reads a packet of several frames from the client, as it stands on the wire; none when it is longer than `limit`.
    pub(super) async fn gather_packet(&mut self, limit: u64) -> Result<Option<BytesMut>, std::io::Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut whole = BytesMut::new();
        loop {
            let head = loop {
                match FrameHead::parse(&self.client.input) {
                    Some(head) => break head,
                    None => self.must_fill().await?,
                }
            };
            if whole.len().saturating_add(head.len) > limit {
                return Ok(None);
            }
            let mut left = head.whole();
            while left > 0 {
                if self.client.input.is_empty() {
                    self.must_fill().await?;
                }
                let now = left.min(self.client.input.len());
                whole.extend_from_slice(&self.client.input.split_to(now));
                left = left.saturating_sub(now);
            }
            if head.len < MAX_FRAME {
                self.client.turn();
                return Ok(Some(whole));
            }
        }
    }

    /// Reads a packet of any size from the client and forgets it; answers its last sequence number.
    pub(super) async fn swallow_packet(&mut self) -> Result<u8, std::io::Error> {
        loop {
            let head = loop {
                match FrameHead::parse(&self.client.input) {
                    Some(head) => break head,
                    None => self.must_fill().await?,
                }
            };
            let mut left = head.whole();
            while left > 0 {
                if self.client.input.is_empty() {
                    self.must_fill().await?;
                }
                let now = left.min(self.client.input.len());
                self.client.input.advance(now);
                left = left.saturating_sub(now);
            }
            if head.len < MAX_FRAME {
                self.client.turn();
                return Ok(head.seq);
            }
        }
    }

    async fn must_fill(&mut self) -> Result<(), std::io::Error> {
        match self.client.fill().await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
