//! The only `unsafe` code of the codecs: owned libvpx contexts and openh264's rate options behind
//! safe functions.
//!
//! Invariants every function here keeps: a context is initialised from construction to drop; a
//! context is used by one thread at a time (`&mut self`); pictures and data handed to the library
//! outlive the call; nothing the library returns is kept after the next call.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::time::Instant;

use bytes::Bytes;
use vpx_sys as vpx;
use vpx_sys::vpx_codec_err_t;

use crate::frame::I420Frame;
use crate::pool::{BytesPool, FramePool};

/// libvpx refused; the number is its `vpx_codec_err_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("libvpx error {0}")]
pub(super) struct VpxError(u32);

fn check(result: vpx_codec_err_t) -> Result<(), VpxError> {
    match result {
        vpx_codec_err_t::VPX_CODEC_OK => Ok(()),
        error => Err(VpxError(error as u32)),
    }
}

/// Which of the two codecs of libvpx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VpxKind {
    Vp8,
    Vp9,
}

/// A setting of a running encoder; see `vpx/vp8cx.h`.
pub(super) type Control = (vpx::vp8e_enc_control_id, i32);

/// An encoder context.
pub(super) struct EncoderContext {
    context: Box<vpx::vpx_codec_ctx_t>,
    config: vpx::vpx_codec_enc_cfg_t,
}

// SAFETY: the context is plain heap data without thread affinity; libvpx only demands that calls
// on one context do not overlap, which `&mut self` ensures.
unsafe impl Send for EncoderContext {}

/// One packet of an encoder.
pub(super) struct EncodedPacket {
    pub(super) data: Bytes,
    pub(super) keyframe: bool,
}

impl EncoderContext {
    /// Starts an encoder. `configure` edits libvpx's defaults.
    pub(super) fn new(
        kind: VpxKind,
        configure: impl FnOnce(&mut vpx::vpx_codec_enc_cfg_t),
        controls: &[Control],
    ) -> Result<Self, VpxError> {
        // SAFETY: the interface getters return pointers to static tables. The default function
        // fills the whole configuration before it is read. The context is zeroed memory of its
        // own type, as the library requires, and lives in a box, so its address is stable.
        let (context, config) = unsafe {
            let interface = match kind {
                VpxKind::Vp8 => vpx::vpx_codec_vp8_cx(),
                VpxKind::Vp9 => vpx::vpx_codec_vp9_cx(),
            };
            let mut config = MaybeUninit::<vpx::vpx_codec_enc_cfg_t>::zeroed();
            check(vpx::vpx_codec_enc_config_default(
                interface,
                config.as_mut_ptr(),
                0,
            ))?;
            let mut config = config.assume_init();
            configure(&mut config);
            let mut context = Box::new(MaybeUninit::<vpx::vpx_codec_ctx_t>::zeroed());
            check(vpx::vpx_codec_enc_init_ver(
                context.as_mut_ptr(),
                interface,
                &raw const config,
                0,
                vpx::VPX_ENCODER_ABI_VERSION as i32,
            ))?;
            (context.assume_init(), config)
        };
        let mut encoder = Self { context, config };
        for control in controls {
            encoder.control(*control)?;
        }
        Ok(encoder)
    }

    /// Changes a setting of the running encoder.
    pub(super) fn control(&mut self, (control, value): Control) -> Result<(), VpxError> {
        // SAFETY: every control passed in by this crate takes one int.
        unsafe {
            check(vpx::vpx_codec_control_(
                &raw mut *self.context,
                control as i32,
                value,
            ))
        }
    }

    /// Names the temporal layer of the next picture to a VP9 encoder with `VP9E_SET_SVC`.
    pub(super) fn set_vp9_temporal_id(&mut self, temporal_id: u8) -> Result<(), VpxError> {
        let mut id = vpx::vpx_svc_layer_id_t {
            spatial_layer_id: 0,
            temporal_layer_id: temporal_id.into(),
            temporal_layer_id_per_spatial: [temporal_id.into(); 5],
        };
        // SAFETY: this control takes a pointer to exactly this type and copies the value.
        unsafe {
            check(vpx::vpx_codec_control_(
                &raw mut *self.context,
                vpx::vp8e_enc_control_id::VP9E_SET_SVC_LAYER_ID as i32,
                &raw mut id,
            ))
        }
    }

    /// Changes the configuration of the running encoder. The size may not grow beyond that of the
    /// first picture.
    pub(super) fn reconfigure(
        &mut self,
        configure: impl FnOnce(&mut vpx::vpx_codec_enc_cfg_t),
    ) -> Result<(), VpxError> {
        configure(&mut self.config);
        // SAFETY: the context is initialised, the configuration is complete.
        unsafe {
            check(vpx::vpx_codec_enc_config_set(
                &raw mut *self.context,
                &raw const self.config,
            ))
        }
    }

    /// Encodes a picture of the configured size. `pts` must increase; `flags` are `VPX_EFLAG_*` and
    /// `VP8_EFLAG_*`. Empty when the encoder dropped the picture to keep to its rate.
    pub(super) fn encode(
        &mut self,
        frame: &I420Frame,
        pts: i64,
        duration: u32,
        flags: u32,
        pool: &mut BytesPool,
    ) -> Result<Option<EncodedPacket>, VpxError> {
        if (frame.width(), frame.height()) != (self.config.g_w, self.config.g_h) {
            return Err(VpxError(vpx_codec_err_t::VPX_CODEC_INVALID_PARAM as u32));
        }
        // SAFETY: the image describes the frame's planes with their real strides and the frame
        // outlives the call; the encoder only reads them. Packets point into the context and are
        // copied before the next call.
        unsafe {
            let mut image = MaybeUninit::<vpx::vpx_image_t>::zeroed();
            let wrapped = vpx::vpx_img_wrap(
                image.as_mut_ptr(),
                vpx::vpx_img_fmt::VPX_IMG_FMT_I420,
                frame.width(),
                frame.height(),
                1,
                frame.data().as_ptr().cast_mut(),
            );
            if wrapped.is_null() {
                return Err(VpxError(vpx_codec_err_t::VPX_CODEC_MEM_ERROR as u32));
            }
            let mut image = image.assume_init();
            for (index, plane) in [frame.y(), frame.u(), frame.v()].into_iter().enumerate() {
                let stride = if index == 0 {
                    frame.width()
                } else {
                    frame.chroma_width()
                };
                image.planes[index] = plane.as_ptr().cast_mut();
                image.stride[index] = stride as i32;
            }
            check(vpx::vpx_codec_encode(
                &raw mut *self.context,
                &raw const image,
                pts,
                duration.into(),
                flags.into(),
                vpx::VPX_DL_REALTIME.into(),
            ))?;
            let mut packet = None::<EncodedPacket>;
            let mut iterator = ptr::null();
            loop {
                let next = vpx::vpx_codec_get_cx_data(&raw mut *self.context, &raw mut iterator);
                let Some(next) = next.as_ref() else { break };
                if next.kind != vpx::vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT {
                    continue;
                }
                let part = next.data.frame;
                let bytes = std::slice::from_raw_parts(part.buf.cast::<u8>(), part.sz);
                let data = match &packet {
                    None => pool.copy(bytes),
                    Some(begun) => [&begun.data[..], bytes].concat().into(),
                };
                let is_key = part.flags & vpx::VPX_FRAME_IS_KEY != 0;
                packet = Some(EncodedPacket {
                    data,
                    keyframe: is_key || packet.is_some_and(|begun| begun.keyframe),
                });
            }
            Ok(packet)
        }
    }
}

impl Drop for EncoderContext {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe {
            vpx::vpx_codec_destroy(&raw mut *self.context);
        }
    }
}

/// A decoder context.
pub(super) struct DecoderContext {
    context: Box<vpx::vpx_codec_ctx_t>,
}

// SAFETY: as for `EncoderContext`.
unsafe impl Send for DecoderContext {}

impl DecoderContext {
    pub(super) fn new(kind: VpxKind, threads: u32) -> Result<Self, VpxError> {
        let config = vpx::vpx_codec_dec_cfg_t {
            threads,
            w: 0,
            h: 0,
        };
        // SAFETY: see `EncoderContext::new`.
        let context = unsafe {
            let interface = match kind {
                VpxKind::Vp8 => vpx::vpx_codec_vp8_dx(),
                VpxKind::Vp9 => vpx::vpx_codec_vp9_dx(),
            };
            let mut context = Box::new(MaybeUninit::<vpx::vpx_codec_ctx_t>::zeroed());
            check(vpx::vpx_codec_dec_init_ver(
                context.as_mut_ptr(),
                interface,
                &raw const config,
                0,
                vpx::VPX_DECODER_ABI_VERSION as i32,
            ))?;
            context.assume_init()
        };
        Ok(Self { context })
    }

    /// Decodes one frame (or superframe) and copies the last picture it shows, if any.
    /// Pictures that are not 8-bit 4:2:0 are dropped.
    pub(super) fn decode(
        &mut self,
        data: &[u8],
        captured_at: Instant,
        pool: &mut FramePool,
    ) -> Result<Option<I420Frame>, VpxError> {
        let Ok(len) = u32::try_from(data.len()) else {
            return Err(VpxError(vpx_codec_err_t::VPX_CODEC_INVALID_PARAM as u32));
        };
        // SAFETY: the data outlives the call. An image and its planes are valid until the next
        // call on the context; they are copied before. Strides are those of the image, and a
        // plane has the rows its height implies.
        unsafe {
            check(vpx::vpx_codec_decode(
                &raw mut *self.context,
                data.as_ptr(),
                len,
                ptr::null_mut(),
                0,
            ))?;
            let mut last = None;
            let mut iterator = ptr::null();
            while let Some(image) =
                vpx::vpx_codec_get_frame(&raw mut *self.context, &raw mut iterator).as_ref()
            {
                if image.fmt == vpx::vpx_img_fmt::VPX_IMG_FMT_I420 {
                    last = copy_image(image, captured_at, pool);
                }
            }
            Ok(last)
        }
    }
}

impl Drop for DecoderContext {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe {
            vpx::vpx_codec_destroy(&raw mut *self.context);
        }
    }
}

/// # Safety
/// `image` is an I420 image just returned by libvpx.
unsafe fn copy_image(
    image: &vpx::vpx_image_t,
    captured_at: Instant,
    pool: &mut FramePool,
) -> Option<I420Frame> {
    let (width, height) = (image.d_w, image.d_h);
    let fill = |data: &mut [u8]| {
        let mut rest = data;
        for plane in 0..3 {
            let (columns, rows) = match plane {
                0 => (width as usize, height as usize),
                _ => (width.div_ceil(2) as usize, height.div_ceil(2) as usize),
            };
            let (target, behind) = rest.split_at_mut(columns * rows);
            rest = behind;
            for (row, line) in target.chunks_exact_mut(columns).enumerate() {
                // SAFETY: within the plane: `row` is below its height and `columns` at most its
                // stride, by the contract of this function.
                let source = unsafe {
                    let start =
                        image.planes[plane].offset(row as isize * image.stride[plane] as isize);
                    std::slice::from_raw_parts(start, columns)
                };
                line.copy_from_slice(source);
            }
        }
    };
    pool.frame(width, height, captured_at, fill)
}

/// Changes the rate of a running openh264 encoder. `false` when it refuses.
pub(super) fn set_openh264_rate(
    encoder: &mut openh264::encoder::Encoder,
    bitrate_bps: u32,
    fps: f32,
) -> bool {
    let bitrate = i32::try_from(bitrate_bps).unwrap_or(i32::MAX);
    let mut target = openh264_sys2::SBitrateInfo {
        iLayer: openh264_sys2::SPATIAL_LAYER_ALL,
        iBitrate: bitrate,
    };
    let mut fps = fps;
    // SAFETY: the options take a pointer to exactly these types and copy the value; none of them
    // is one the wrapper keeps a copy of and relies on.
    unsafe {
        let api = encoder.raw_api();
        // The maximum first: a target above it is cut back to it.
        let results = [
            api.set_option(
                openh264_sys2::ENCODER_OPTION_MAX_BITRATE,
                (&raw mut target).cast(),
            ),
            api.set_option(
                openh264_sys2::ENCODER_OPTION_BITRATE,
                (&raw mut target).cast(),
            ),
            api.set_option(
                openh264_sys2::ENCODER_OPTION_FRAME_RATE,
                (&raw mut fps).cast(),
            ),
        ];
        results.iter().all(|result| *result == 0)
    }
}
