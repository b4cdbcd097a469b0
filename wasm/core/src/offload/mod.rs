//! Segmentation for the TUN device: superpackets read are split, segments to write are coalesced. Linux
//! `include/uapi/linux/virtio_net.h`, `Documentation/networking/segmentation-offloads.rst`.

pub mod coalesce;
pub mod split;
pub mod vnet;

#[cfg(test)]
mod tests;
