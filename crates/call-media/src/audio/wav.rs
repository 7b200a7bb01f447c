//! WAV files: reading any PCM16 or float file as a mono stream, writing a recording.
//!
//! The reader trusts nothing: sizes in the header are bounded by the file itself and by
//! `READ_BYTES`. The writer keeps its header valid after every [`WavWriter::finish`] and, as a
//! fallback, on drop; at `DATA_BYTES` it stops growing instead of wrapping the 32-bit sizes.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::format::{SAMPLE_RATE_HZ, f32_to_i16, i16_to_f32};
use super::resample::RATES_HZ;

/// Largest file read, in bytes: 256 MiB, over 20 minutes of 48 kHz stereo PCM16.
const READ_BYTES: u64 = 256 * 1024 * 1024;
/// Most sample bytes written, 2 GiB: six hours; sizes in a WAV header are 32 bits.
const DATA_BYTES: u32 = 2 * 1024 * 1024 * 1024 - 64;
const HEADER_BYTES: u32 = 44;

/// A WAV file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not a RIFF/WAVE file, truncated, or without sound in it.
    #[error("not a usable WAV file: {0}")]
    Malformed(&'static str),
    /// A valid WAV file in a format this reader does not speak.
    #[error("unsupported WAV format: {0}")]
    Unsupported(&'static str),
}

/// A WAV file in memory, mixed down to mono.
#[derive(Clone, Debug, PartialEq)]
pub struct WavAudio {
    /// Samples per second, 8 000..=192 000.
    pub rate_hz: u32,
    /// Mono samples, at least one.
    pub samples: Vec<f32>,
}

/// Reads a mono or stereo PCM16 or 32-bit float file of 8..=192 kHz.
///
/// # Errors
/// [`WavError`]; a file beyond 256 MiB is refused.
pub fn read_wav(path: &Path) -> Result<WavAudio, WavError> {
    let file = File::open(path)?;
    if file.metadata()?.len() > READ_BYTES {
        return Err(WavError::Unsupported("larger than 256 MiB"));
    }
    let mut bytes = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut bytes)?;
    parse_wav(&bytes)
}

#[derive(Clone, Copy)]
struct Format {
    float: bool,
    channels: usize,
    rate_hz: u32,
}

fn parse_wav(bytes: &[u8]) -> Result<WavAudio, WavError> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(WavError::Malformed("no RIFF/WAVE header"));
    }
    let mut rest = &bytes[12..];
    let mut format = None;
    while let Some((header, body)) = rest.split_at_checked(8) {
        let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        // Recorders that were killed leave a size of 0 or 0xffff_ffff: the file's end decides.
        let chunk = &body[..size.min(body.len())];
        match (&header[..4], format) {
            (b"fmt ", _) => format = Some(parse_format(chunk)?),
            (b"data", Some(format)) => return decode_samples(format, chunk),
            (b"data", None) => return Err(WavError::Malformed("sound before its format")),
            _ => {}
        }
        rest = body
            .get(size.saturating_add(size % 2)..)
            .unwrap_or_default();
    }
    Err(WavError::Malformed("no data chunk"))
}

fn parse_format(chunk: &[u8]) -> Result<Format, WavError> {
    let Some(&[tag_low, tag_high, ch_low, ch_high, r0, r1, r2, r3, ..]) = chunk.get(..16) else {
        return Err(WavError::Malformed("short format chunk"));
    };
    let mut tag = u16::from_le_bytes([tag_low, tag_high]);
    let bits = u16::from_le_bytes([chunk[14], chunk[15]]);
    if tag == 0xfffe {
        // WAVE_FORMAT_EXTENSIBLE: the real tag opens the GUID.
        let Some(guid) = chunk.get(24..26) else {
            return Err(WavError::Malformed("short extensible format"));
        };
        tag = u16::from_le_bytes([guid[0], guid[1]]);
    }
    let float = match (tag, bits) {
        (1, 16) => false,
        (3, 32) => true,
        _ => return Err(WavError::Unsupported("neither PCM16 nor 32-bit float")),
    };
    let channels = usize::from(u16::from_le_bytes([ch_low, ch_high]));
    if !(1..=2).contains(&channels) {
        return Err(WavError::Unsupported("neither mono nor stereo"));
    }
    let rate_hz = u32::from_le_bytes([r0, r1, r2, r3]);
    if !RATES_HZ.contains(&rate_hz) {
        return Err(WavError::Unsupported("sample rate outside 8..192 kHz"));
    }
    Ok(Format {
        float,
        channels,
        rate_hz,
    })
}

fn decode_samples(format: Format, data: &[u8]) -> Result<WavAudio, WavError> {
    let interleaved: Vec<f32> = if format.float {
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .map(|sample| {
                if sample.is_finite() {
                    sample.clamp(-1.0, 1.0)
                } else {
                    0.0
                }
            })
            .collect()
    } else {
        data.chunks_exact(2)
            .map(|b| i16_to_f32(i16::from_le_bytes([b[0], b[1]])))
            .collect()
    };
    let samples: Vec<f32> = interleaved
        .chunks_exact(format.channels)
        .map(|frame| frame.iter().sum::<f32>() / format.channels as f32)
        .collect();
    if samples.is_empty() {
        return Err(WavError::Malformed("no samples"));
    }
    Ok(WavAudio {
        rate_hz: format.rate_hz,
        samples,
    })
}

/// Writes 48 kHz mono PCM16.
#[derive(Debug)]
pub struct WavWriter {
    file: BufWriter<File>,
    data_bytes: u32,
    finished: bool,
}

impl WavWriter {
    /// Creates (or truncates) the file and writes a header for zero samples.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn create(path: &Path) -> Result<Self, WavError> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&header(0))?;
        Ok(Self {
            file,
            data_bytes: 0,
            finished: false,
        })
    }

    /// Appends samples. Beyond 2 GiB they are dropped: the recording ends, the call goes on.
    ///
    /// # Errors
    /// [`WavError::Io`], for example a full disk.
    pub fn write(&mut self, samples: &[f32]) -> Result<(), WavError> {
        let room = ((DATA_BYTES - self.data_bytes) / 2) as usize;
        for sample in &samples[..samples.len().min(room)] {
            self.file.write_all(&f32_to_i16(*sample).to_le_bytes())?;
            self.data_bytes += 2;
        }
        Ok(())
    }

    /// Writes the final sizes into the header and closes the file.
    ///
    /// # Errors
    /// [`WavError::Io`].
    pub fn finish(mut self) -> Result<(), WavError> {
        self.fix_header()
    }

    fn fix_header(&mut self) -> Result<(), WavError> {
        self.finished = true;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(self.data_bytes))?;
        self.file.flush()?;
        Ok(())
    }
}

impl Drop for WavWriter {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = self.fix_header()
        {
            tracing::warn!(%error, "recording was not closed properly");
        }
    }
}

fn header(data_bytes: u32) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        header[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(b"RIFF");
    put(&(data_bytes + HEADER_BYTES - 8).to_le_bytes());
    put(b"WAVEfmt ");
    put(&16u32.to_le_bytes());
    put(&1u16.to_le_bytes());
    put(&1u16.to_le_bytes());
    put(&SAMPLE_RATE_HZ.to_le_bytes());
    put(&(SAMPLE_RATE_HZ * 2).to_le_bytes());
    put(&2u16.to_le_bytes());
    put(&16u16.to_le_bytes());
    put(b"data");
    put(&data_bytes.to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Vec<f32> {
        (0..4_800).map(|n| (n as f32 * 0.05).sin() * 0.7).collect()
    }

    fn assert_close(read: &[f32], written: &[f32]) {
        assert_eq!(read.len(), written.len());
        assert!(
            read.iter()
                .zip(written)
                .all(|(a, b)| (a - b).abs() < 1.0 / 32_000.0)
        );
    }

    #[test]
    fn what_is_written_is_read_back_after_finish_and_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        for finish in [true, false] {
            let path = dir.path().join(format!("{finish}.wav"));
            let mut writer = WavWriter::create(&path).unwrap();
            for block in sound().chunks(480) {
                writer.write(block).unwrap();
            }
            if finish {
                writer.finish().unwrap();
            } else {
                drop(writer);
            }
            let read = read_wav(&path).unwrap();
            assert_eq!(read.rate_hz, 48_000);
            assert_close(&read.samples, &sound());
        }
    }

    fn wav(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from(*b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0");
        for field in [tag, channels] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn stereo_float_is_mixed_to_mono_past_unknown_chunks() {
        let data: Vec<u8> = [0.5f32, 0.25, f32::NAN, -9.0]
            .iter()
            .flat_map(|s| s.to_le_bytes())
            .collect();
        let audio = parse_wav(&wav(3, 2, 44_100, 32, &data)).unwrap();
        assert_eq!(
            audio,
            WavAudio {
                rate_hz: 44_100,
                samples: vec![0.375, -0.5]
            }
        );
    }

    #[test]
    fn bad_files_are_errors() {
        let good = wav(1, 1, 48_000, 16, &[1, 2, 3, 4]);
        assert!(parse_wav(&good).is_ok());
        for length in 0..good.len() - 4 {
            assert!(parse_wav(&good[..length]).is_err(), "cut at {length}");
        }
        for bytes in [
            wav(1, 0, 48_000, 16, &[0; 8]),
            wav(1, 6, 48_000, 16, &[0; 24]),
            wav(1, 1, 0, 16, &[0; 8]),
            wav(1, 1, 999_999, 16, &[0; 8]),
            wav(1, 1, 48_000, 24, &[0; 8]),
            wav(1, 1, 48_000, 16, &[]),
        ] {
            assert!(parse_wav(&bytes).is_err());
        }
    }

    #[test]
    fn a_huge_declared_size_reads_what_is_there() {
        let mut bytes = wav(1, 1, 48_000, 16, &[0, 64, 0, 64]);
        let at = bytes.len() - 8;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(parse_wav(&bytes).unwrap().samples, [0.5, 0.5]);
    }
}
