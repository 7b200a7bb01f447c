//! How a camera is built into its device, as the driver tells.
//!
//! Only Linux drivers tell (`V4L2_CID_CAMERA_SENSOR_ROTATION`, read-only); the frameworks of other
//! systems turn pictures themselves.

use nokhwa::utils::CameraIndex;

use super::rotate::Rotation;

/// `V4L2_CID_CAMERA_CLASS_BASE` + 35 (`linux/v4l2-controls.h`).
#[cfg(target_os = "linux")]
const SENSOR_ROTATION: u32 = 0x009a_0900 + 35;

/// How far pictures of a camera must be turned; none when the driver does not tell.
#[cfg(target_os = "linux")]
pub(super) fn rotation_of(index: &CameraIndex) -> Rotation {
    let Ok(number) = index.as_index() else {
        return Rotation::None;
    };
    let control = v4l::Device::new(number as usize)
        .and_then(|device| device.control(SENSOR_ROTATION))
        .map(|control| control.value);
    match control {
        Ok(v4l::control::Value::Integer(degrees)) => from_control(degrees),
        _ => Rotation::None,
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn rotation_of(_index: &CameraIndex) -> Rotation {
    Rotation::None
}

/// The control counts degrees of correction counter-clockwise.
#[cfg(target_os = "linux")]
fn from_control(degrees: i64) -> Rotation {
    Rotation::from_degrees(-degrees).unwrap_or_else(|| {
        tracing::debug!(
            degrees,
            "the camera states a rotation that is no quarter turn"
        );
        Rotation::None
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_control_turns_counter_clockwise() {
        assert_eq!(from_control(90), Rotation::Clockwise270);
        assert_eq!(from_control(0), Rotation::None);
        assert_eq!(from_control(45), Rotation::None);
    }

    #[test]
    fn a_camera_that_is_not_there_stands_upright() {
        let index = CameraIndex::Index(4_000);
        assert_eq!(rotation_of(&index), Rotation::None);
    }
}
