//! YUV4MPEG2 files: a looping source and a writer. 8-bit 4:2:0 only.
//!
//! The header is untrusted: its length, size and rate are bounded before anything is allocated.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use super::capture::{CaptureError, VideoSource};
use super::scale::Scaler;
use super::source_config::{FPS, SIDE_PX};
use super::synthetic::wait_for;
use crate::frame::I420Frame;
use crate::pool::FramePool;

/// Longest header line in bytes; real ones are below 100.
const HEADER_BYTES: u64 = 1024;

/// Plays a file in real time, over and over.
#[derive(Debug)]
pub struct Y4mReader {
    file: BufReader<File>,
    first_frame_at: u64,
    width: u32,
    height: u32,
    fps: u32,
    next_at: Instant,
    pool: FramePool,
}

impl Y4mReader {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`CaptureError::File`] when it cannot be read, is not 8-bit 4:2:0 YUV4MPEG2, or is out of
    /// the bounds of [`super::source_config`].
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(file_error)?);
        let header = read_line(&mut file)?;
        let (width, height, fps) = parse_header(&header)?;
        let first_frame_at = file.stream_position().map_err(file_error)?;
        Ok(Self {
            file,
            first_frame_at,
            width,
            height,
            fps,
            next_at: Instant::now(),
            pool: FramePool::new(),
        })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Frames per second, rounded.
    pub fn fps(&self) -> u32 {
        self.fps
    }

    /// Reads the next picture without waiting for its time. `None` at the end of the file; a
    /// picture that is cut off counts as the end.
    pub fn read_frame(&mut self) -> Result<Option<I420Frame>, CaptureError> {
        if self.file.fill_buf().map_err(file_error)?.is_empty() {
            return Ok(None);
        }
        if !read_line(&mut self.file)?.starts_with("FRAME") {
            return Err(CaptureError::File("a frame header is missing".to_owned()));
        }
        let file = &mut self.file;
        let read = |data: &mut [u8]| file.read_exact(data);
        let read = self
            .pool
            .try_frame(self.width, self.height, Instant::now(), read);
        match read {
            Ok(frame) => Ok(frame),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(file_error(error)),
        }
    }
}

impl VideoSource for Y4mReader {
    fn next_frame(&mut self) -> Result<I420Frame, CaptureError> {
        wait_for(&mut self.next_at, self.fps);
        if let Some(frame) = self.read_frame()? {
            return Ok(frame);
        }
        self.file
            .seek(SeekFrom::Start(self.first_frame_at))
            .map_err(file_error)?;
        let frame = self.read_frame()?;
        frame.ok_or_else(|| CaptureError::File("there is no frame in it".to_owned()))
    }
}

fn file_error(error: io::Error) -> CaptureError {
    CaptureError::File(error.to_string())
}

fn read_line(file: &mut impl BufRead) -> Result<String, CaptureError> {
    let mut line = Vec::new();
    file.by_ref()
        .take(HEADER_BYTES)
        .read_until(b'\n', &mut line)
        .map_err(file_error)?;
    if line.pop() != Some(b'\n') {
        return Err(CaptureError::File(
            "a header line is missing or too long".to_owned(),
        ));
    }
    String::from_utf8(line).map_err(|_| CaptureError::File("a header is not text".to_owned()))
}

fn parse_header(header: &str) -> Result<(u32, u32, u32), CaptureError> {
    let refuse = |why: &str| CaptureError::File(why.to_owned());
    let mut fields = header.split(' ');
    if fields.next() != Some("YUV4MPEG2") {
        return Err(refuse("not a YUV4MPEG2 file"));
    }
    let (mut width, mut height, mut fps) = (0, 0, 30);
    for field in fields {
        let Some(tag) = field.chars().next() else {
            continue;
        };
        let value = &field[tag.len_utf8()..];
        match tag {
            'W' => width = value.parse().unwrap_or(0),
            'H' => height = value.parse().unwrap_or(0),
            'F' => {
                let (n, d) = value.split_once(':').unwrap_or((value, "1"));
                let (n, d) = (n.parse::<u32>().unwrap_or(0), d.parse::<u32>().unwrap_or(0));
                fps = u64::from(n)
                    .checked_add(u64::from(d) / 2)
                    .and_then(|n| n.checked_div(u64::from(d)))
                    .and_then(|fps| u32::try_from(fps).ok())
                    .unwrap_or(0);
            }
            'C' if !matches!(value, "420" | "420jpeg" | "420mpeg2" | "420paldv") => {
                return Err(refuse("only 8-bit 4:2:0 is supported"));
            }
            _ => {}
        }
    }
    if !SIDE_PX.contains(&width) || !SIDE_PX.contains(&height) || !FPS.contains(&fps) {
        return Err(refuse("size or frame rate out of bounds"));
    }
    Ok((width, height, fps))
}

/// Writes pictures; those of another size are scaled to the size of the header.
pub struct Y4mWriter<W: Write> {
    out: BufWriter<W>,
    width: u32,
    height: u32,
    scaler: Scaler,
}

impl<W: Write> Y4mWriter<W> {
    /// Writes the header.
    pub fn new(out: W, width: u32, height: u32, fps: u32) -> io::Result<Self> {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        writeln!(
            out,
            "YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg"
        )?;
        Ok(Self {
            out,
            width,
            height,
            scaler: Scaler::new(),
        })
    }

    /// Appends one picture.
    pub fn write(&mut self, frame: &I420Frame) -> io::Result<()> {
        let frame = self.scaler.resize(frame, self.width, self.height);
        self.out.write_all(b"FRAME\n")?;
        self.out.write_all(frame.data())
    }

    /// Hands everything to the file. Dropping does the same but swallows the error.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::synthetic::{Pattern, read_mark};

    #[test]
    fn what_is_written_is_read_and_loops() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pattern = Pattern::new(130, 66, 5);
        let mut writer = Y4mWriter::new(file.reopen().unwrap(), 130, 66, 60).unwrap();
        for number in 0..3 {
            writer
                .write(&pattern.draw(number, 60, 9, Instant::now()))
                .unwrap();
        }
        // A picture of another size is scaled, its mark survives.
        writer
            .write(&Pattern::new(260, 132, 5).draw(3, 60, 9, Instant::now()))
            .unwrap();
        drop(writer);
        let mut reader = Y4mReader::open(file.path()).unwrap();
        assert_eq!((reader.size(), reader.fps()), ((130, 66), 60));
        for number in [0, 1, 2, 3, 0, 1] {
            let frame = reader.next_frame().unwrap();
            assert_eq!(read_mark(&frame).unwrap().frame, number);
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let good = parse_header("YUV4MPEG2 W640 H360 F30000:1001 Ip A1:1 C420jpeg XFOO").unwrap();
        assert_eq!(good, (640, 360, 30));
        let bad = [
            "RIFF",
            "YUV4MPEG2",
            "YUV4MPEG2 W640 H360 F0:0",
            "YUV4MPEG2 W640 H360 F30:0",
            "YUV4MPEG2 W99999 H360 F30:1",
            "YUV4MPEG2 W-1 H360 F30:1",
            "YUV4MPEG2 W640 H360 F30:1 C444",
            "YUV4MPEG2 W640 H360 F30:1 C420p10",
        ];
        for header in bad {
            assert!(parse_header(header).is_err(), "{header}");
        }
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(read_line(&mut endless).is_err());
    }

    #[test]
    fn a_file_without_frames_is_an_error_not_a_loop() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"YUV4MPEG2 W64 H64 F60:1\nFRAME\nshort")
            .unwrap();
        let mut reader = Y4mReader::open(file.path()).unwrap();
        assert!(reader.next_frame().is_err());
    }
}
