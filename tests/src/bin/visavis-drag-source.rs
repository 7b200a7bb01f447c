//! A small window in the corner of the screen that files can be dragged out of, as out of a file
//! manager, and that has copied them: what a test needs to drop real files on a real window and to
//! paste them there. Prints `ready` once it is there.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use gtk::gdk::{DragAction, ModifierType};
    use gtk::prelude::*;
    use gtk::{TargetEntry, TargetFlags};

    let uris: Vec<String> = std::env::args()
        .skip(1)
        .map(|path| gtk::glib::filename_to_uri(path, None).map(String::from))
        .collect::<Result<_, _>>()?;
    gtk::init()?;
    let window = gtk::Window::new(gtk::WindowType::Toplevel);
    window.set_decorated(false);
    window.set_default_size(40, 40);
    window.move_(0, 0);
    let targets = [TargetEntry::new("text/uri-list", TargetFlags::OTHER_APP, 0)];
    window.drag_source_set(ModifierType::BUTTON1_MASK, &targets, DragAction::COPY);
    let copied = uris.clone();
    gtk::Clipboard::get(&gtk::gdk::SELECTION_CLIPBOARD).set_with_data(
        &targets,
        move |_, data, _| {
            let uris: Vec<&str> = copied.iter().map(String::as_str).collect();
            data.set_uris(&uris);
        },
    );
    window.connect_drag_data_get(move |_, _, data, _, _| {
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        data.set_uris(&uris);
    });
    window.connect_map_event(|_, _| {
        // The test waits for this line.
        #[allow(clippy::print_stdout)]
        {
            println!("ready");
        }
        gtk::glib::Propagation::Proceed
    });
    window.show_all();
    gtk::main();
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {}
