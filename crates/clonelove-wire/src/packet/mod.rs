//! The packets that we originate or must understand, one file each. Rows and column values are never decoded.

pub mod auth;
pub mod change_user;
pub mod eof;
pub mod err;
pub mod execute;
pub mod greeting;
pub mod ok;
pub mod prepare;
pub mod response;

pub use greeting::Greeting;
pub use response::Response;
