//! Bit strings worked out by hand from the specification, round trips, and hostile bytes.

use super::*;

/// Bytes of a string of zeros and ones; spaces and line breaks are for the reader.
fn bytes_of(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits
        .bytes()
        .filter(|bit| matches!(bit, b'0' | b'1'))
        .collect();
    let byte = |chunk: &[u8]| {
        (0..8).fold(0, |byte, index| {
            byte << 1 | u8::from(chunk.get(index) == Some(&b'1'))
        })
    };
    bits.chunks(8).map(byte).collect()
}

/// L1T1, 640x360, template ids from 0.
const ONE_LAYER: &str = "000000 00000 00 11  10 10  0 1 0000 0  1  0000 0001
                         1 0000001001111111 0000000101100111";
/// L1T2, 1280x720, template ids from 0.
const TWO_LAYERS: &str = "000000 00001  00 00 01 11  10 10  10 10  10 10  01 00
                          0  1 0001 0  1 0000 0  1 0000 0   10  0000 0010 0001 0001
                          1 0000010011111111 0000001011001111";

#[test]
fn written_bits_are_those_of_the_specification() {
    let mut one = DescriptorWriter::new(0x1234);
    let mut two = DescriptorWriter::new(0xffff);
    let key = one.frame(true, 0, 1, 640, 360);
    let delta = one.frame(false, 0, 1, 640, 360);
    let key_two = two.frame(true, 0, 2, 1_280, 720);
    // After the keyframe 65535 the layers go 1, 0, 0, 1, 1, 0.
    let upper = two.frame(false, 1, 2, 1_280, 720);
    let second = two.frame(false, 0, 2, 1_280, 720);
    let next = two.frame(false, 0, 2, 1_280, 720);
    let upper_first = two.frame(false, 1, 2, 1_280, 720);
    let upper_again = two.frame(false, 1, 2, 1_280, 720);
    let far = two.frame(false, 0, 2, 1_280, 720);
    let n = |number: u16| format!("{number:016b}");
    let cases = [
        (
            "only packet of a keyframe",
            key.packet(true, true),
            format!("1 1 000000 {} 10000 {ONE_LAYER}", n(0x1234)),
        ),
        (
            "first of a keyframe",
            key.packet(true, false),
            format!("1 0 000000 {} 10000 {ONE_LAYER}", n(0x1234)),
        ),
        (
            "middle of a keyframe",
            key.packet(false, false),
            format!("0 0 000000 {}", n(0x1234)),
        ),
        (
            "last of a keyframe",
            key.packet(false, true),
            format!("0 1 000000 {}", n(0x1234)),
        ),
        (
            "first of a frame",
            delta.packet(true, false),
            format!("1 0 000001 {}", n(0x1235)),
        ),
        (
            "last of a frame",
            delta.packet(false, true),
            format!("0 1 000001 {}", n(0x1235)),
        ),
        (
            "two layers",
            key_two.packet(true, true),
            format!("1 1 000000 {} 10000 {TWO_LAYERS}", n(0xffff)),
        ),
        (
            "layer 1, number wraps",
            upper.packet(true, true),
            format!("1 1 000011 {}", n(0)),
        ),
        (
            "layer 0 after layer 1",
            second.packet(true, true),
            format!("1 1 000001 {}", n(1)),
        ),
        (
            "layer 0 after layer 0",
            next.packet(true, true),
            format!("1 1 000010 {}", n(2)),
        ),
        (
            "layer 1 after layer 0",
            upper_first.packet(true, true),
            format!("1 1 000011 {}", n(3)),
        ),
        (
            "layer 1 after layer 1: two back",
            upper_again.packet(false, true),
            format!("0 1 000011 {} 00011 01 0001 00 00000010", n(4)),
        ),
        (
            "layer 0 after two of layer 1: three back",
            far.packet(true, false),
            format!("1 0 000001 {} 00011 01 0010 00 00000011", n(5)),
        ),
    ];
    for (what, got, want) in cases {
        assert_eq!(got, bytes_of(&want), "{what}");
    }
    assert!(
        key_two.packet(true, true).len() > 16,
        "needs two-byte headers"
    );
}

#[test]
fn new_structures_get_new_template_ids() {
    let mut writer = DescriptorWriter::new(0);
    let mut offset = |layers, width_px| {
        let bytes = writer
            .frame(true, 0, layers, width_px, 180)
            .packet(true, true);
        Descriptor::parse(&bytes, None)
            .unwrap()
            .structure
            .unwrap()
            .id_offset
    };
    assert_eq!(offset(1, 320), 0);
    assert_eq!(offset(1, 320), 0, "the same structure");
    assert_eq!(offset(1, 640), 2);
    assert_eq!(offset(2, 640), 4);
    assert_eq!(offset(1, 640), 8);
    for _ in 0..40 {
        offset(2, 640);
        offset(1, 640);
    }
}

#[test]
fn the_reader_understands_the_writer() {
    for layers in [1, 2] {
        let mut writer = DescriptorWriter::new(65_500);
        let mut known: Option<Structure> = None;
        let mut base = 0;
        for index in 0..200_u16 {
            let keyframe = index % 50 == 0;
            let upper = layers == 2 && !keyframe && index % 7 != 0 && index % 2 == 1;
            let width_px = 320 + u32::from(index / 100) * 320;
            let frame = writer.frame(keyframe, upper.into(), layers, width_px, 180);
            let number = 65_500_u16.wrapping_add(index);
            for (first, last) in [(true, false), (false, false), (false, true), (true, true)] {
                let bytes = frame.packet(first, last);
                let read = Descriptor::parse(&bytes, known.as_ref());
                let read = if keyframe && !first && known.is_none() {
                    assert_eq!(read, None, "no structure yet");
                    continue;
                } else {
                    read.unwrap()
                };
                assert_eq!((read.start_of_frame, read.end_of_frame), (first, last));
                assert_eq!(read.frame_number, number);
                assert_eq!(read.is_keyframe, keyframe && first);
                assert_eq!((read.spatial_id, read.temporal_id), (0, upper.into()));
                let size = Resolution {
                    width_px,
                    height_px: 180,
                };
                assert_eq!(read.resolution, Some(size));
                if let Some(structure) = read.structure.clone() {
                    known = Some(structure);
                }
                let template = known.as_ref().unwrap().template(read.template_id).unwrap();
                let fdiff = read
                    .custom_fdiffs
                    .as_ref()
                    .map_or(template.fdiffs.first().copied().map(u16::from), |fdiffs| {
                        fdiffs.first().copied()
                    });
                let chain = read
                    .custom_chain_fdiffs
                    .as_ref()
                    .unwrap_or(&template.chain_fdiffs);
                let gap = index - base;
                let want = if keyframe { None } else { Some(gap) };
                assert_eq!(fdiff, want, "frame {index}");
                assert_eq!(u16::from(chain[0]), want.unwrap_or(0));
                let everything = read.indications.get(0);
                assert_eq!(everything == Indication::Discardable, upper);
                if layers == 2 {
                    assert_eq!(read.indications.get(1) == Indication::NotPresent, upper);
                }
                assert_eq!(read.indications.get(99), Indication::NotPresent);
                // The four kinds of packet of one frame share what it depends on.
                if keyframe {
                    base = index;
                }
            }
            if !upper {
                base = index;
            }
        }
    }
}

#[test]
fn a_run_of_upper_frames_is_cut_off() {
    let mut writer = DescriptorWriter::new(0);
    let key = writer.frame(true, 0, 2, 320, 180).packet(true, true);
    let known = Descriptor::parse(&key, None).unwrap().structure;
    let mut base = 0;
    for number in 1..400_u16 {
        let bytes = writer.frame(false, 1, 2, 320, 180).packet(true, true);
        let read = Descriptor::parse(&bytes, known.as_ref()).unwrap();
        let want = number - base;
        let got = read.custom_fdiffs.map_or(1, |fdiffs| fdiffs[0]);
        assert_eq!(got, want);
        if read.temporal_id == 0 {
            assert_eq!(want, 15);
            base = number;
        }
    }
    assert_ne!(base, 0);
}

#[test]
fn a_browsers_structure_of_three_by_three_layers_is_read() {
    // L3T3 of A.10.2.2, its first six templates per layer kept to what tells layers apart: three
    // spatial layers with temporal layers 0, 1 and 2, nine targets, three chains.
    let layers = "01 01 10 01 01 10 01 01 11";
    let dtis = "10 ".repeat(9 * 9);
    let fdiffs = "0  1 0101 0  1 0010 0   1 0000 0  1 0101 1 0000 0  1 0010 1 0000 0
                  1 0000 0  1 0101 1 0000 0  1 0010 1 0000 0";
    // ns(10) of 3 is 011; then ns(3) of 2, 2, 2, 1, 1, 1, 0, 0, 0.
    let chains = "011  11 11 11 10 10 10 0 0 0";
    let chain_fdiffs = "0000 0110 0011 ".repeat(9);
    let sizes = "1 0000000100111111 0000000010110011 0000001001111111 0000000101100111
                 0000010011111111 0000001011001111";
    let bits = format!(
        "1 0 000110 0000000000000111 1 1 0 0 0 000110 01000 {layers} {dtis} {fdiffs} {chains}
         {chain_fdiffs} {sizes} 000000111"
    );
    let read = Descriptor::parse(&bytes_of(&bits), None).unwrap();
    assert!(read.is_keyframe && read.start_of_frame && !read.end_of_frame);
    assert_eq!(read.frame_number, 7);
    assert_eq!(read.active_decode_targets, Some(0b111));
    let structure = read.structure.unwrap();
    assert_eq!(
        (
            structure.id_offset,
            structure.decode_targets,
            structure.chains
        ),
        (6, 9, 3)
    );
    assert_eq!(structure.protected_by, [2, 2, 2, 1, 1, 1, 0, 0, 0]);
    let layers: Vec<_> = structure
        .templates
        .iter()
        .map(|t| (t.spatial_id, t.temporal_id))
        .collect();
    assert_eq!(
        layers,
        [
            (0, 0),
            (0, 1),
            (0, 2),
            (1, 0),
            (1, 1),
            (1, 2),
            (2, 0),
            (2, 1),
            (2, 2)
        ]
    );
    assert_eq!(structure.templates[4].fdiffs, [6, 1]);
    assert_eq!(structure.templates[8].chain_fdiffs, [0, 6, 3]);
    assert_eq!(
        structure.resolution(2),
        Some(Resolution {
            width_px: 1_280,
            height_px: 720
        })
    );
    assert_eq!(
        structure.resolution(0),
        Some(Resolution {
            width_px: 320,
            height_px: 180
        })
    );

    // A later packet of template 6 + 7, with indications, dependencies and chains of its own.
    let own = "10 ".repeat(8) + "00";
    let bits = format!(
        "0 1 001101 0000000000001000 0 0 1 1 1 {own} 01 0011 10 00010000 11 000000000001 00
         00000001 11111111 00000000"
    );
    let read = Descriptor::parse(&bytes_of(&bits), Some(&structure)).unwrap();
    assert_eq!((read.spatial_id, read.temporal_id), (2, 1));
    assert_eq!(read.indications.get(7), Indication::Switch);
    assert_eq!(read.indications.get(8), Indication::NotPresent);
    assert_eq!(read.custom_fdiffs.as_deref(), Some(&[4, 17, 2][..]));
    assert_eq!(read.custom_chain_fdiffs.as_deref(), Some(&[1, 255, 0][..]));
    assert!(!read.is_keyframe && read.structure.is_none());
    // Ids wrap at 64, and those outside are refused.
    let wrapped = Structure {
        id_offset: 60,
        ..structure.clone()
    };
    assert_eq!(wrapped.template(2), structure.templates.get(6));
    assert_eq!(structure.template(15), None);
    assert_eq!(
        Descriptor::parse(&[0x80 | 15, 0, 1], Some(&structure)),
        None
    );
    assert_eq!(Descriptor::parse(&[0x80 | 6, 0, 1], None), None);
}

#[test]
fn the_frame_number_alone_is_replaced() {
    let mut writer = DescriptorWriter::new(9);
    let bytes = writer.frame(true, 0, 2, 640, 360).packet(true, true);
    let mut changed = bytes.to_vec();
    set_frame_number(&mut changed, 0xabcd);
    let mut want = Descriptor::parse(&bytes, None).unwrap();
    want.frame_number = 0xabcd;
    assert_eq!(Descriptor::parse(&changed, None), Some(want));
    let mut short = [7, 7];
    set_frame_number(&mut short, 1);
    assert_eq!(short, [7, 7]);
    assert_eq!(Mandatory::parse(&short), None);
}

#[test]
fn hostile_bytes_are_bounded_and_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut writer = DescriptorWriter::new(0);
    let seeds: Vec<Vec<u8>> = [(true, 1), (false, 1), (true, 2)]
        .map(|(key, layers)| {
            writer
                .frame(key, 0, layers, 640, 360)
                .packet(true, true)
                .to_vec()
        })
        .into();
    let known = Descriptor::parse(&seeds[2], None).unwrap().structure;
    let (mut parsed, mut refused) = (0, 0);
    for round in 0..200_000_usize {
        let mut bytes = if round % 2 == 0 {
            let length = (random() % 80) as usize;
            (0..length).map(|_| random() as u8).collect()
        } else {
            seeds[round / 2 % seeds.len()].clone()
        };
        if round % 2 == 1 {
            for _ in 0..random() % 4 {
                let at = (random() % (bytes.len() as u64 * 8)) as usize;
                bytes[at / 8] ^= 1 << (at % 8);
            }
            bytes.truncate(3 + (random() % 30) as usize);
        }
        for known in [None, known.as_ref()] {
            match Descriptor::parse(&bytes, known) {
                None => refused += 1,
                Some(read) => {
                    parsed += 1;
                    assert!(
                        read.structure
                            .is_none_or(|s| s.templates.len() <= MAX_TEMPLATES)
                    );
                    assert!(
                        read.custom_fdiffs
                            .is_none_or(|f| f.len() <= 8 * bytes.len())
                    );
                }
            }
        }
    }
    assert!(parsed > 1_000 && refused > 1_000, "{parsed} {refused}");
    // Endless templates, and more bytes than an extension holds.
    assert_eq!(
        Descriptor::parse(&[&[0x80, 0, 0, 0x80][..], &[0; 200]].concat(), None),
        None
    );
    assert_eq!(Descriptor::parse(&[0; 256], known.as_ref()), None);
}
