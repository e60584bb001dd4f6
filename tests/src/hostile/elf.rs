//! An ELF object with one eBPF program of two instructions, for tools that load objects: there is no
//! compiler for eBPF on a machine that only runs the tests.

/// `return` with a value in register 0.
fn returning(value: i32) -> Vec<u8> {
    let mov = [&[0xb7, 0, 0, 0][..], &value.to_le_bytes()].concat();
    [mov, vec![0x95, 0, 0, 0, 0, 0, 0, 0]].concat()
}

struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    link: u32,
    info: u32,
    entry: u64,
    bytes: Vec<u8>,
}

impl Section {
    fn new(name: &'static str, kind: u32, flags: u64, bytes: Vec<u8>) -> Self {
        Self { name, kind, flags, link: 0, info: 0, entry: 0, bytes }
    }
}

/// An object whose section `section` holds a program that returns `value`.
pub(super) fn program(section: &'static str, value: i32) -> Vec<u8> {
    let code = returning(value);
    let size = u64::try_from(code.len()).unwrap_or_default();
    // Symbol 1: a global function in section 1, whose name begins at byte 1.
    let mut symbols = vec![0; 24];
    symbols.extend(1_u32.to_le_bytes());
    symbols.extend([0x12, 0, 1, 0]);
    symbols.extend(0_u64.to_le_bytes());
    symbols.extend(size.to_le_bytes());
    let symbols = Section { link: 4, info: 1, entry: 24, ..Section::new(".symtab", 2, 0, symbols) };
    let sections = [
        Section::new("", 0, 0, Vec::new()),
        Section::new(section, 1, 6, code),
        Section::new("license", 1, 2, b"GPL\0".to_vec()),
        symbols,
        Section::new(".strtab", 3, 0, b"\0hostile\0".to_vec()),
    ];
    object(sections.into())
}

fn object(mut sections: Vec<Section>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut offsets = Vec::new();
    for name in sections.iter().map(|section| section.name).chain([".shstrtab"]) {
        offsets.push(u32::try_from(names.len()).unwrap_or_default());
        names.extend(name.bytes().chain([0]));
    }
    sections.push(Section::new(".shstrtab", 3, 0, names));
    let mut body = Vec::new();
    let mut headers = Vec::new();
    for (section, name) in sections.iter().zip(offsets) {
        body.resize(body.len().next_multiple_of(8), 0);
        let at = u64::try_from(64 + body.len()).unwrap_or_default();
        let size = u64::try_from(section.bytes.len()).unwrap_or_default();
        body.extend(&section.bytes);
        headers.extend(name.to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        headers.extend(section.flags.to_le_bytes());
        headers.extend(0_u64.to_le_bytes());
        headers.extend(at.to_le_bytes());
        headers.extend(size.to_le_bytes());
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(section.entry.to_le_bytes());
    }
    body.resize(body.len().next_multiple_of(8), 0);
    let count = u16::try_from(sections.len()).unwrap_or_default();
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // Relocatable, for BPF.
    file.extend([1, 0, 247, 0, 1, 0, 0, 0]);
    file.extend([0; 16]);
    file.extend(u64::try_from(64 + body.len()).unwrap_or_default().to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0]);
    file.extend(count.to_le_bytes());
    file.extend((count - 1).to_le_bytes());
    [file, body, headers].concat()
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn an_object_begins_with_its_header_and_ends_with_section_headers() {
        let object = program("xdp", 2);
        let at = u64::from_le_bytes(object[40..48].try_into().unwrap());
        assert_eq!(usize::try_from(at).unwrap() + 6 * 64, object.len());
        assert_eq!(&object[64..68], &[0xb7, 0, 0, 0]);
    }
}
