//! The Internet checksum, RFC 1071. Sums are kept as the machine loads words, little-endian: the result of a
//! ones'-complement sum is the same with its bytes swapped, so only [`Sum::finish`] swaps.

/// A ones'-complement sum under way. Pieces are added at even offsets of what is summed.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last one counts as if a zero followed, so it may only be the last piece.
    pub fn add(self, bytes: &[u8]) -> Sum {
        // 32-bit words into 64-bit columns: no carry is lost, and no addition waits for the one before. Adding 16-bit
        // words took a sixth of the time of a whole tunnel.
        let mut columns = [0u64; 4];
        let (blocks, rest) = bytes.as_chunks::<16>();
        for block in blocks {
            let (words, _) = block.as_chunks::<4>();
            for (column, word) in columns.iter_mut().zip(words) {
                *column += u64::from(u32::from_le_bytes(*word));
            }
        }
        let (words, last) = rest.as_chunks::<2>();
        let mut sum = columns.iter().map(|&column| (column & 0xffff_ffff) + (column >> 32)).sum::<u64>();
        sum += words.iter().map(|word| u64::from(u16::from_le_bytes(*word))).sum::<u64>();
        sum += last.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        Sum(self.0 + sum)
    }

    /// Adds a big-endian word, such as a length or a protocol number.
    pub fn add_u16(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word.swap_bytes()))
    }

    pub fn add_u32(self, number: u32) -> Sum {
        self.add_u16((number >> 16) as u16).add_u16(number as u16)
    }

    /// The folded sum, not complemented: what a pseudo-header leaves in a checksum field for the device to finish.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).swap_bytes()
    }

    /// The checksum.
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 §1, word by word as it is written there.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn agrees_with_the_reference_at_every_length() {
        let bytes: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in (0..600).chain([1_420, 9_001, 65_535]) {
            let part = &bytes[length % 7..][..length];
            assert_eq!(Sum::default().add(part).finish(), reference(part), "{length} bytes");
            let (head, tail) = part.split_at(length / 4 * 2);
            assert_eq!(Sum::default().add(head).add(tail).finish(), reference(part), "in two pieces");
        }
        assert_eq!(Sum::default().add(&[0xff; 65_534]).finish(), 0);
    }

    #[test]
    fn numbers_count_as_their_big_endian_bytes() {
        let bytes = [0x12, 0x34, 0xab, 0xcd, 0, 17];
        let sum = Sum::default().add_u32(0x1234_abcd).add_u16(17);
        assert_eq!(sum.finish(), reference(&bytes));
    }
}
