//! What a screen or window shows, small, as a picture a web view can show.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use call_protocol::limits;

use super::canvas::{Canvas, PIXEL};
use crate::video::scale::fit_size;

/// A `data:` URL of a PNG that fits into [`limits::THUMBNAIL_PX`].
pub(super) fn data_url(canvas: &Canvas) -> Option<String> {
    let size = canvas.size();
    let (most_width, most_height) = limits::THUMBNAIL_PX;
    let small = fit_size(size.0, size.1, most_width, most_height);
    let rgb = shrink(canvas.pixels(), size, small)?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, small.0, small.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&rgb).ok()?;
    writer.finish().ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(&file)))
}

/// The mean of the pixels behind each small one, as red, green and blue.
fn shrink(pixels: &[u8], size: (u32, u32), small: (u32, u32)) -> Option<Vec<u8>> {
    let (width, height) = (size.0 as usize, size.1 as usize);
    if width == 0 || pixels.len() < width * height * PIXEL {
        return None;
    }
    let span = |at: u32, small: u32, full: usize| {
        let edge = |at: u32| at as usize * full / small.max(1) as usize;
        edge(at)..edge(at + 1).max(edge(at) + 1).min(full)
    };
    let mut rgb = Vec::with_capacity(small.0 as usize * small.1 as usize * 3);
    for row in 0..small.1 {
        for column in 0..small.0 {
            let mut sums = [0_u32; 3];
            let mut count = 0;
            for y in span(row, small.1, height) {
                let columns = span(column, small.0, width);
                let at = (y * width + columns.start) * PIXEL;
                for pixel in pixels[at..at + columns.len() * PIXEL].chunks_exact(PIXEL) {
                    for (sum, value) in sums.iter_mut().zip([pixel[2], pixel[1], pixel[0]]) {
                        *sum += u32::from(value);
                    }
                    count += 1;
                }
            }
            rgb.extend(sums.map(|sum| (sum / count.max(1)) as u8));
        }
    }
    Some(rgb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::canvas::Area;

    #[test]
    fn a_thumbnail_is_a_small_picture_of_the_same_colours() {
        let mut canvas = Canvas::default();
        assert_eq!(data_url(&canvas), None);
        canvas.resize(1_000, 500);
        let left = Area {
            width: 500,
            height: 500,
            ..Area::default()
        };
        canvas.put(left, &[10, 20, 30, 0].repeat(500 * 500));
        let url = data_url(&canvas).unwrap();
        let file = STANDARD.decode(url.strip_prefix("data:image/png;base64,").unwrap());
        let decoder = png::Decoder::new(std::io::Cursor::new(file.unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width, info.height), (256, 128));
        assert_eq!(
            (&rgb[..3], &rgb[rgb.len() - 3..]),
            (&[30, 20, 10][..], &[0; 3][..])
        );
    }
}
