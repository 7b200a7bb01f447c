//! How many packets the SFU forwards per second of CPU time, beside a bare loop that does only what
//! cannot be avoided: receive, seal with AES-128-GCM, send coalesced.
//!
//! `sfu_load [SECONDS]` prints one JSON line per load: one publisher to 50 receivers, ten members to
//! ten, and the loop. Only the CPU time of the SFU's own thread counts, so the members may run in
//! the same process. Linux only: elsewhere no thread tells its CPU time.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, not part of the product"
)]

#[allow(dead_code, reason = "shared with the tests")]
#[path = "../tests/sfu/world.rs"]
mod world;

#[cfg(target_os = "linux")]
fn main() {
    let seconds = std::env::args().nth(1);
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let only = std::env::args().nth(2).unwrap_or_default();
    for (name, members, publishers, packets) in [("1x50", 51, 1, 5), ("10x10", 10, 10, 3)] {
        if only.is_empty() || only == name {
            load::forward(name, members, publishers, packets, seconds);
        }
    }
    if only.is_empty() || only == "bare" {
        load::bare(50, 5, seconds);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod load {
    use std::io::IoSliceMut;
    use std::net::UdpSocket;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use call_server::sfu::SfuFigures;
    use nix::time::{ClockId, clock_gettime};
    use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};

    use super::world::{Shape, World, room, tile};

    const PACKET_BYTES: usize = 1_160;
    const FRAMES_PER_SECOND: u32 = 60;

    /// Runs a room and prints what its SFU did.
    pub(crate) fn forward(name: &str, members: u32, publishers: u32, packets: usize, seconds: u64) {
        let mut world = World::new(1);
        for index in 0..members {
            let is_publisher = index < publishers;
            world.add(
                room(1),
                Shape {
                    layers: u8::from(is_publisher),
                    audio_slots: 1,
                    video_slots: publishers as usize,
                    has_feedback: true,
                },
            );
        }
        world.connect();
        for receiver in 0..members {
            let others = (1..=publishers).filter(|other| *other != receiver + 1);
            let tiles: Vec<_> = others.map(|other| tile(other, 1_280, 720)).collect();
            world.subscribe(receiver as usize, &tiles);
        }
        let mut next = Instant::now();
        let mut run = |world: &mut World, until: Instant| {
            world.until_then(until + Duration::from_secs(60), |world| {
                if Instant::now() >= next {
                    next += Duration::from_secs(1) / FRAMES_PER_SECOND;
                    for publisher in 0..publishers as usize {
                        world.members[publisher].send_frame(0, false, packets, PACKET_BYTES);
                    }
                }
                for member in &mut world.members {
                    member.packets.clear();
                }
                Instant::now() >= until
            });
        };
        // The estimators need some seconds.
        run(&mut world, Instant::now() + Duration::from_secs(8));
        let before = world.sfu.figures();
        run(&mut world, Instant::now() + Duration::from_secs(seconds));
        let after = world.sfu.figures();
        world.sfu.stop();
        print(name, before, after, seconds);
    }

    fn print(name: &str, before: SfuFigures, after: SfuFigures, seconds: u64) {
        let packets = after.packets_out - before.packets_out;
        let cpu_us = after.cpu_us - before.cpu_us;
        let line = serde_json::json!({
            "load": name,
            "packets_out": packets,
            "packets_in": after.packets_in - before.packets_in,
            "rtx_out": after.rtx_out - before.rtx_out,
            "dropped": after.dropped_send - before.dropped_send,
            "packets_per_s": packets / seconds,
            "cpu_us": cpu_us,
            "packets_per_cpu_s": packets * 1_000_000 / cpu_us.max(1),
            "mbit_per_s": (after.bytes_out - before.bytes_out) * 8 / seconds / 1_000_000,
        });
        println!("{line}");
    }

    /// Receives runs of `segments` packets, seals each for `receivers` and sends them on.
    pub(crate) fn bare(receivers: usize, segments: usize, seconds: u64) {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (server, source) = (bind(), bind());
        let sinks: Vec<UdpSocket> = (0..receivers).map(|_| bind()).collect();
        let addresses: Vec<_> = sinks
            .iter()
            .map(|sink| sink.local_addr().unwrap())
            .collect();
        let is_over = Arc::new(AtomicBool::new(false));
        let drain = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let mut buffer = [0; 65_536];
                for sink in &sinks {
                    sink.set_nonblocking(true).unwrap();
                }
                while !is_over.load(Ordering::Relaxed) {
                    for sink in &sinks {
                        while sink.recv(&mut buffer).is_ok() {}
                    }
                }
            }
        });
        let to = server.local_addr().unwrap();
        let state = UdpSocketState::new(UdpSockRef::from(&server)).unwrap();
        let source_state = UdpSocketState::new(UdpSockRef::from(&source)).unwrap();
        let crypto = str0m::crypto::from_feature_flags();
        let cipher = crypto.srtp_provider.aead_aes_128_gcm();
        let mut cipher = cipher.create_cipher([7; 16], true);
        let run = vec![1; 1_200 * segments];
        let mut buffers = vec![0; 65_536 * BATCH_SIZE];
        let mut sealed = vec![0; 1_216 * segments];
        let mut cpu = Duration::ZERO;
        let mut packets = 0_u64;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents: &run,
                segment_size: Some(1_200),
                src_ip: None,
            };
            source_state
                .try_send(UdpSockRef::from(&source), &transmit)
                .unwrap();
            let start = cpu_time();
            let mut meta = [RecvMeta::default(); BATCH_SIZE];
            let mut chunks = buffers.chunks_mut(65_536);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap()));
            let count = state
                .recv(UdpSockRef::from(&server), &mut slices, &mut meta)
                .unwrap();
            for (meta, buffer) in meta.iter().zip(&slices).take(count) {
                for address in &addresses {
                    let incoming = buffer[..meta.len].chunks(meta.stride.max(1));
                    for (plain, out) in incoming.zip(sealed.chunks_mut(1_216)) {
                        cipher
                            .encrypt(&[3; 12], &plain[..12], plain, &mut out[..plain.len() + 16])
                            .unwrap();
                        packets += 1;
                    }
                    let transmit = Transmit {
                        destination: *address,
                        ecn: None,
                        contents: &sealed,
                        segment_size: Some(1_216),
                        src_ip: None,
                    };
                    // A full buffer costs the same.
                    let _ = state.try_send(UdpSockRef::from(&server), &transmit);
                }
            }
            cpu += cpu_time() - start;
        }
        is_over.store(true, Ordering::Relaxed);
        drain.join().unwrap();
        let cpu_us = u64::try_from(cpu.as_micros()).unwrap();
        let line = serde_json::json!({
            "load": "bare",
            "packets_out": packets,
            "cpu_us": cpu_us,
            "packets_per_cpu_s": packets * 1_000_000 / cpu_us.max(1),
        });
        println!("{line}");
    }

    fn cpu_time() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
            .unwrap()
            .into()
    }
}
