//! Reading and writing bit fields, most significant bit first.

/// Reads bits from a byte string; `None` beyond its end.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// f(n) of the specification, for n up to 32.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.position / 8)?;
            let bit = (byte >> (7 - self.position % 8)) & 1;
            value = value << 1 | u32::from(bit);
            self.position += 1;
        }
        Some(value)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.bits(1)? == 1)
    }

    /// ns(n) of the specification: a value below `count`, which is at least 1.
    pub(super) fn non_symmetric(&mut self, count: u32) -> Option<u32> {
        let width = u32::BITS - count.leading_zeros();
        let short = (1 << width) - count;
        let value = self.bits(width.saturating_sub(1))?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.bits(1)?)
    }
}

/// Appends bits to bytes; the last byte is filled up with zeros.
#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    length: usize,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`, `count` up to 32.
    pub(super) fn bits(&mut self, value: u32, count: u32) {
        for index in (0..count).rev() {
            if self.length.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> index & 1 == 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.length % 8);
            }
            self.length += 1;
        }
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.bits(u32::from(value), 1);
    }

    /// ns(n) of the specification: `value` below `count`, which is at least 1.
    pub(super) fn non_symmetric(&mut self, value: u32, count: u32) {
        let width = u32::BITS - count.leading_zeros();
        let short = (1 << width) - count;
        if value < short {
            self.bits(value, width.saturating_sub(1));
        } else {
            self.bits(value + short, width);
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_symmetric_matches_the_table_of_the_specification() {
        // Appendix A.8.2, n = 5, each value followed by ones.
        let cases = [
            (0b0011_1111, 0),
            (0b0111_1111, 1),
            (0b1011_1111, 2),
            (0b1101_1111, 3),
            (0b1111_1111, 4),
        ];
        for (byte, want) in cases {
            let bytes = [byte];
            let mut reader = BitReader::new(&bytes);
            assert_eq!(reader.non_symmetric(5), Some(want));
            let width = if want < 3 { 2 } else { 3 };
            assert_eq!(reader.position, width);
            let mut writer = BitWriter::default();
            writer.non_symmetric(want, 5);
            assert_eq!(writer.length, width);
            assert_eq!(writer.bytes, [byte & !(0xff >> width)]);
        }
        assert_eq!(
            BitReader::new(&[]).non_symmetric(1),
            Some(0),
            "takes no bits"
        );
        assert_eq!(BitReader::new(&[]).non_symmetric(2), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let fields = [
            (1, 1),
            (0b101, 3),
            (0xffff, 16),
            (0, 2),
            (0x1234_5678, 32),
            (63, 6),
        ];
        let mut writer = BitWriter::default();
        for (value, count) in fields {
            writer.bits(value, count);
        }
        let bytes = writer.into_bytes();
        assert_eq!(bytes.len(), 8);
        let mut reader = BitReader::new(&bytes);
        for (value, count) in fields {
            assert_eq!(reader.bits(count), Some(value));
        }
        assert_eq!(reader.bits(4), Some(0), "padding");
        assert_eq!(reader.bits(1), None);
    }
}
