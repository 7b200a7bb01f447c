//! The codecs called directly, as little around them as works: the yardstick of the benchmark.
//! Settings are those of `video/vpx.rs` and `audio/codec.rs`; keep them the same.
#![allow(
    unsafe_code,
    reason = "the yardstick is the C interface itself, without our wrapper"
)]

use std::mem::MaybeUninit;
use std::ptr;

use call_media::audio::{AudioEncoderConfig, FRAME_SAMPLES};
use call_media::frame::I420Frame;
use call_protocol::VideoCodec;
use vpx_sys as vpx;
use vpx_sys::vp8e_enc_control_id as control;

use super::{BITRATE_BPS, FPS, FRAMES, Failure, HEIGHT, SOUND_FRAMES, WIDTH, picture, voice};

fn check(result: vpx::vpx_codec_err_t) -> Result<(), Failure> {
    match result {
        vpx::vpx_codec_err_t::VPX_CODEC_OK => Ok(()),
        error => Err(format!("libvpx error {}", error as u32).into()),
    }
}

/// As `threads` in `video/vpx.rs`.
fn threads() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores >= 4 { 2 } else { 1 }
}

fn controls(codec: VideoCodec) -> Vec<(control, i32)> {
    let mut controls = vec![
        (control::VP8E_SET_STATIC_THRESHOLD, 1),
        (control::VP8E_SET_MAX_INTRA_BITRATE_PCT, 900),
    ];
    if codec == VideoCodec::Vp8 {
        controls.extend([
            (control::VP8E_SET_CPUUSED, -6),
            (control::VP8E_SET_NOISE_SENSITIVITY, 0),
            (control::VP8E_SET_TOKEN_PARTITIONS, 0),
        ]);
    } else {
        controls.extend([
            (control::VP8E_SET_CPUUSED, 8),
            (control::VP9E_SET_AQ_MODE, 3),
            (control::VP9E_SET_FRAME_PERIODIC_BOOST, 0),
            (control::VP9E_SET_TILE_COLUMNS, 1),
            (control::VP9E_SET_ROW_MT, 1),
        ]);
    }
    controls
}

/// Encodes and decodes one round of pictures; how many came out.
pub(super) fn video(codec: VideoCodec, pictures: &[I420Frame]) -> Result<u32, Failure> {
    let mut decoded = 0;
    let is_vp8 = codec == VideoCodec::Vp8;
    // SAFETY: the calls follow libvpx's own examples: contexts are zeroed and initialised before
    // use and destroyed once; pictures outlive the calls that read them; packets and images are
    // used before the next call on their context.
    unsafe {
        let (encoder, decoder) = if is_vp8 {
            (vpx::vpx_codec_vp8_cx(), vpx::vpx_codec_vp8_dx())
        } else {
            (vpx::vpx_codec_vp9_cx(), vpx::vpx_codec_vp9_dx())
        };
        let mut config = MaybeUninit::<vpx::vpx_codec_enc_cfg_t>::zeroed();
        check(vpx::vpx_codec_enc_config_default(
            encoder,
            config.as_mut_ptr(),
            0,
        ))?;
        let mut config = config.assume_init();
        config.g_w = WIDTH;
        config.g_h = HEIGHT;
        config.g_timebase = vpx::vpx_rational {
            num: 1,
            den: 90_000,
        };
        config.g_threads = threads();
        config.g_lag_in_frames = 0;
        config.rc_end_usage = vpx::vpx_rc_mode::VPX_CBR;
        config.rc_target_bitrate = BITRATE_BPS / 1000;
        config.rc_dropframe_thresh = 30;
        config.rc_resize_allowed = 0;
        config.rc_min_quantizer = 2;
        config.rc_max_quantizer = if is_vp8 { 56 } else { 52 };
        config.rc_undershoot_pct = if is_vp8 { 100 } else { 50 };
        config.rc_overshoot_pct = if is_vp8 { 15 } else { 50 };
        config.rc_buf_initial_sz = 500;
        config.rc_buf_optimal_sz = 600;
        config.rc_buf_sz = 1000;
        config.kf_max_dist = 100_000;
        let mut encoding = Box::new(MaybeUninit::<vpx::vpx_codec_ctx_t>::zeroed());
        check(vpx::vpx_codec_enc_init_ver(
            encoding.as_mut_ptr(),
            encoder,
            &raw const config,
            0,
            vpx::VPX_ENCODER_ABI_VERSION as i32,
        ))?;
        for (control, value) in controls(codec) {
            check(vpx::vpx_codec_control_(
                encoding.as_mut_ptr(),
                control as i32,
                value,
            ))?;
        }
        let mut decoding = Box::new(MaybeUninit::<vpx::vpx_codec_ctx_t>::zeroed());
        let threads = vpx::vpx_codec_dec_cfg_t {
            threads: 1,
            w: 0,
            h: 0,
        };
        check(vpx::vpx_codec_dec_init_ver(
            decoding.as_mut_ptr(),
            decoder,
            &raw const threads,
            0,
            vpx::VPX_DECODER_ABI_VERSION as i32,
        ))?;
        for number in 0..FRAMES {
            let picture = picture(pictures, number);
            let mut image = MaybeUninit::<vpx::vpx_image_t>::zeroed();
            vpx::vpx_img_wrap(
                image.as_mut_ptr(),
                vpx::vpx_img_fmt::VPX_IMG_FMT_I420,
                WIDTH,
                HEIGHT,
                1,
                picture.data().as_ptr().cast_mut(),
            );
            check(vpx::vpx_codec_encode(
                encoding.as_mut_ptr(),
                image.as_ptr(),
                i64::from(number * (90_000 / FPS)),
                (90_000 / FPS).into(),
                0,
                vpx::VPX_DL_REALTIME.into(),
            ))?;
            let mut packets = ptr::null();
            while let Some(packet) =
                vpx::vpx_codec_get_cx_data(encoding.as_mut_ptr(), &raw mut packets).as_ref()
            {
                if packet.kind != vpx::vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT {
                    continue;
                }
                let frame = packet.data.frame;
                check(vpx::vpx_codec_decode(
                    decoding.as_mut_ptr(),
                    frame.buf.cast::<u8>(),
                    frame.sz as u32,
                    ptr::null_mut(),
                    0,
                ))?;
                let mut images = ptr::null();
                let image = vpx::vpx_codec_get_frame(decoding.as_mut_ptr(), &raw mut images);
                decoded += u32::from(!std::hint::black_box(image).is_null());
            }
        }
        vpx::vpx_codec_destroy(encoding.as_mut_ptr());
        vpx::vpx_codec_destroy(decoding.as_mut_ptr());
    }
    Ok(decoded)
}

/// Encodes and decodes one round of sound.
pub(super) fn sound() -> Result<(), Failure> {
    let config = AudioEncoderConfig::default();
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)?;
    encoder.set_inband_fec(true)?;
    encoder.set_dtx(config.dtx)?;
    encoder.set_bitrate(opus::Bitrate::Bits(config.bitrate_bps as i32))?;
    encoder.set_packet_loss_perc(i32::from(config.packet_loss_perc))?;
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let mut packet = [0; 1_275];
    let mut out = [0.0; FRAME_SAMPLES];
    for number in 0..SOUND_FRAMES {
        let length = encoder.encode_float(&voice(number), &mut packet)?;
        decoder.decode_float(&packet[..length], &mut out, false)?;
        std::hint::black_box(out);
    }
    Ok(())
}
