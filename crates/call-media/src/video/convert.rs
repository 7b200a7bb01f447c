//! What cameras deliver, converted to I420.
//!
//! Input comes from a driver: lengths are checked, nothing panics, nothing is read past the end.

use std::time::Instant;

use call_protocol::limits;
use yuv::{
    BufferStoreMut, YuvConversionMode, YuvPackedImage, YuvPlanarImageMut, YuvRange,
    YuvStandardMatrix,
};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::frame::I420Frame;
use crate::pool::FramePool;

/// A pixel format of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PixelFormat {
    /// Luma plane, then interleaved chroma at half size.
    Nv12,
    /// Packed 4:2:2.
    Yuyv,
    /// One JPEG per picture.
    Mjpeg,
}

/// A buffer that is not a picture of the format and size it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConvertError {
    #[error("{got} bytes where {format:?} {width}x{height} needs {needed}")]
    Short {
        format: PixelFormat,
        width: u32,
        height: u32,
        needed: usize,
        got: usize,
    },
    #[error("unsupported size {0}x{1}")]
    Size(u32, u32),
    #[error("bad JPEG: {0}")]
    Jpeg(String),
}

/// Converts what one device delivers. Keeps the memory of pictures nobody holds any more, and that
/// of the JPEG decoder's output.
#[derive(Debug, Default)]
pub(super) struct Converter {
    pool: FramePool,
    rgb: Vec<u8>,
}

impl Converter {
    /// Converts a buffer. A JPEG brings its own size.
    pub(super) fn convert(
        &mut self,
        format: PixelFormat,
        (width, height): (u32, u32),
        data: &[u8],
        captured_at: Instant,
    ) -> Result<I420Frame, ConvertError> {
        if format == PixelFormat::Mjpeg {
            return self.mjpeg(data, captured_at);
        }
        if !super::bitstream::is_size_allowed((width, height)) || width % 2 != 0 {
            return Err(ConvertError::Size(width, height));
        }
        let (columns, rows) = (width as usize, height as usize);
        let needed = match format {
            PixelFormat::Nv12 => columns * rows + columns * rows.div_ceil(2),
            _ => columns * rows * 2,
        };
        let got = data.len();
        let data = data.get(..needed).ok_or(ConvertError::Short {
            format,
            width,
            height,
            needed,
            got,
        })?;
        if format == PixelFormat::Nv12 {
            let fill = |out: &mut [u8]| nv12(columns * rows, data, out);
            return self
                .pool
                .frame(width, height, captured_at, fill)
                .ok_or(ConvertError::Size(width, height));
        }
        let packed = YuvPackedImage {
            yuy: data,
            yuy_stride: width * 2,
            width,
            height,
        };
        let convert =
            |target: &mut YuvPlanarImageMut<'_, u8>| yuv::yuyv422_to_yuv420(target, &packed);
        planar(&mut self.pool, (width, height), captured_at, convert)
    }

    fn mjpeg(&mut self, data: &[u8], captured_at: Instant) -> Result<I420Frame, ConvertError> {
        let jpeg_error =
            |error: zune_jpeg::errors::DecodeErrors| ConvertError::Jpeg(error.to_string());
        let side = limits::PICTURE_PX as usize;
        // JPEG is full range; going through RGB yields the limited range of all our pictures.
        let options = DecoderOptions::new_fast()
            .jpeg_set_out_colorspace(ColorSpace::RGB)
            .set_max_width(side)
            .set_max_height(side);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
        decoder.decode_headers().map_err(jpeg_error)?;
        let info = decoder
            .info()
            .ok_or_else(|| ConvertError::Jpeg("no header".to_owned()))?;
        let (width, height) = (u32::from(info.width), u32::from(info.height));
        if !super::bitstream::is_size_allowed((width, height)) {
            return Err(ConvertError::Size(width, height));
        }
        let needed = width as usize * height as usize * 3;
        if decoder.output_buffer_size() != Some(needed) {
            return Err(ConvertError::Size(width, height));
        }
        self.rgb.resize(needed, 0);
        decoder.decode_into(&mut self.rgb).map_err(jpeg_error)?;
        let rgb = &self.rgb[..];
        let convert = |target: &mut YuvPlanarImageMut<'_, u8>| {
            yuv::rgb_to_yuv420(
                target,
                rgb,
                width * 3,
                YuvRange::Limited,
                YuvStandardMatrix::Bt601,
                YuvConversionMode::Balanced,
            )
        };
        planar(&mut self.pool, (width, height), captured_at, convert)
    }
}

fn nv12(luma_len: usize, data: &[u8], out: &mut [u8]) {
    let (luma, chroma) = data.split_at(luma_len);
    let (y, out) = out.split_at_mut(luma_len);
    let (u, v) = out.split_at_mut(out.len() / 2);
    y.copy_from_slice(luma);
    for ((pair, u), v) in chroma.chunks_exact(2).zip(u).zip(v) {
        (*u, *v) = (pair[0], pair[1]);
    }
}

/// Lets `convert` write the planes of a picture.
pub(crate) fn planar<E>(
    pool: &mut FramePool,
    (width, height): (u32, u32),
    captured_at: Instant,
    convert: impl FnOnce(&mut YuvPlanarImageMut<'_, u8>) -> Result<(), E>,
) -> Result<I420Frame, ConvertError> {
    let fill = |data: &mut [u8]| {
        let (y, chroma) = data.split_at_mut(width as usize * height as usize);
        let (u, v) = chroma.split_at_mut(chroma.len() / 2);
        let chroma_stride = width.div_ceil(2);
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(y),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(u),
            u_stride: chroma_stride,
            v_plane: BufferStoreMut::Borrowed(v),
            v_stride: chroma_stride,
            width,
            height,
        };
        convert(&mut image)
    };
    let frame = pool.try_frame(width, height, captured_at, fill);
    frame
        .ok()
        .flatten()
        .ok_or(ConvertError::Size(width, height))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_i420(
        format: PixelFormat,
        size: (u32, u32),
        data: &[u8],
        captured_at: Instant,
    ) -> Result<I420Frame, ConvertError> {
        Converter::default().convert(format, size, data, captured_at)
    }

    /// 16x16 4:2:0 baseline JPEG of RGB (200, 30, 30), quality 95.
    const RED_JPEG: &[u8] = include_bytes!("testdata/red16.jpg");

    #[test]
    fn yuyv_and_nv12_keep_their_samples() {
        let yuyv: Vec<u8> = [50, 90, 60, 170].repeat(8 * 4 / 2);
        let frame = to_i420(PixelFormat::Yuyv, (8, 4), &yuyv, Instant::now()).unwrap();
        assert_eq!(frame.y(), [50, 60].repeat(16));
        assert_eq!((frame.u(), frame.v()), (&[90; 8][..], &[170; 8][..]));

        let mut nv12 = vec![77; 8 * 4];
        nv12.extend([90, 170].repeat(8));
        let frame = to_i420(PixelFormat::Nv12, (8, 4), &nv12, Instant::now()).unwrap();
        assert_eq!(frame.y(), [77; 32]);
        assert_eq!((frame.u(), frame.v()), (&[90; 8][..], &[170; 8][..]));
    }

    #[test]
    fn jpeg_becomes_limited_range() {
        let mut padded = RED_JPEG.to_vec();
        padded.extend([0; 500]);
        for data in [RED_JPEG, &padded] {
            let frame = to_i420(PixelFormat::Mjpeg, (0, 0), data, Instant::now()).unwrap();
            assert_eq!((frame.width(), frame.height()), (16, 16));
            // BT.601 limited: 16 + 0.257 R + 0.504 G + 0.098 B.
            assert!(
                frame.y().iter().all(|y| y.abs_diff(85) <= 4),
                "{:?}",
                frame.y()
            );
            assert!(
                frame.v().iter().all(|v| v.abs_diff(200) <= 5),
                "{:?}",
                frame.v()
            );
        }
    }

    #[test]
    fn bad_buffers_are_errors() {
        let now = Instant::now();
        for format in [PixelFormat::Yuyv, PixelFormat::Nv12] {
            for size in [
                (8, 4),
                (0, 4),
                (7, 4),
                (8, 0),
                (5000, 2),
                (u32::MAX - 1, u32::MAX),
            ] {
                assert!(
                    to_i420(format, size, &[0; 40], now).is_err(),
                    "{format:?} {size:?}"
                );
            }
        }
        for len in 0..RED_JPEG.len() {
            // A truncated picture may decode in part; it must only not panic.
            let _ = to_i420(PixelFormat::Mjpeg, (16, 16), &RED_JPEG[..len], now);
        }
        assert!(to_i420(PixelFormat::Mjpeg, (16, 16), &[], now).is_err());
        assert!(to_i420(PixelFormat::Mjpeg, (16, 16), &[0xff; 300], now).is_err());
    }
}
