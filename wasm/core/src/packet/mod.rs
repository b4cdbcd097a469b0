//! What the core reads of the packets it carries: one file per header. Parsers of foreign bytes return
//! `Option`; none can panic.

pub mod address;
pub mod checksum;
pub mod ip;
pub mod transport;
