//! What has to be settled with the system before the first window opens.

/// Chooses the renderer. Must run before Tauri starts any thread.
pub(crate) fn prepare() {
    #[cfg(target_os = "linux")]
    linux::prefer_software_renderer_without_gpu();
}

#[cfg(target_os = "linux")]
mod linux {
    /// WebKitGTK's DMABUF renderer without a GPU costs three times the processor time and drops
    /// frames. A choice of the person's own in the environment is left alone.
    #[allow(unsafe_code)]
    pub(super) fn prefer_software_renderer_without_gpu() {
        const VARIABLE: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
        if std::env::var_os(VARIABLE).is_none() && !has_render_node() {
            // SAFETY: called first thing in `main`, while this is the only thread.
            unsafe { std::env::set_var(VARIABLE, "1") };
        }
    }

    fn has_render_node() -> bool {
        std::fs::read_dir("/dev/dri").is_ok_and(|entries| {
            entries
                .filter_map(Result::ok)
                .filter(|entry| entry.file_name().to_string_lossy().starts_with("renderD"))
                .any(|entry| {
                    std::fs::OpenOptions::new()
                        .read(true)
                        .write(true)
                        .open(entry.path())
                        .is_ok()
                })
        })
    }
}
