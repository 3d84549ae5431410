//! Finds a value in a bolt database, the file format of the agent's saved state.
//!
//! In: a function that reads parts of the file, perhaps while bolt writes to it. Out: the bytes of one value, or the
//! number of a damaged page. Only the pages on the path to the value are read, each with a size limit, and the depth is
//! limited. So no input makes it panic, run for long or use much memory. It does not interpret values. Data pages have
//! no checksum: a page that was changed during the read is detected only if its offsets are invalid.

use super::unreadable::{Unreadable, VERSION};

const MAGIC: u32 = 0xED0C_DAED;
const PAGE_HEADER: usize = 16;
/// The size of an element of a branch page and of a leaf page.
const ELEMENT: usize = 16;
const BUCKET_HEADER: usize = 16;
/// The maximum depth. A branch has at least two children, so a deeper tree of 2^32 pages has a cycle.
const DEPTH: usize = 32;
/// The size limit of a page with its overflow pages. The agent's metadata has a few hundred bytes; its tasks are in
/// other pages.
const MAX_PAGE_LENGTH: usize = 1024 * 1024;

/// Reads bytes of the file, given offset and length; `None` if the file is shorter.
pub(super) type ReadAt<'a> = &'a dyn Fn(u64, usize) -> Option<Vec<u8>>;

/// A bolt database as its newest whole transaction left it. Numbers are in the byte order of the machine that wrote
/// them, which on EC2 is little endian.
pub(super) struct Bolt<'a> {
    read: ReadAt<'a>,
    meta: Meta,
}

#[derive(Clone, Copy)]
struct Meta {
    page_size: usize,
    root: u64,
    /// One more than the highest page in use.
    page_limit: u64,
    transaction: u64,
}

pub(super) struct Page {
    /// The page's number; for an inline bucket the number of the page that contains it.
    number: u64,
    bytes: Vec<u8>,
    is_leaf: bool,
    count: usize,
}

/// An entry of a leaf page.
struct LeafEntry {
    is_bucket: bool,
    value: Vec<u8>,
    page: u64,
}

impl Meta {
    /// The meta page at this offset, if it is valid.
    fn at(read: ReadAt<'_>, start: u64) -> Option<Meta> {
        let meta = read(start.checked_add(PAGE_HEADER as u64)?, 64)?;
        let (summed, checksum) = meta.split_at(56);
        let whole =
            u32_at(&meta, 0)? == MAGIC && u32_at(&meta, 4)? == VERSION && u64_at(checksum, 0)? == fnv64a(summed);
        if !whole {
            return None;
        }
        Some(Meta {
            page_size: usize::try_from(u32_at(&meta, 8)?).ok()?,
            root: u64_at(&meta, 16)?,
            page_limit: u64_at(&meta, 40)?,
            transaction: u64_at(&meta, 48)?,
        })
    }
}

impl<'a> Bolt<'a> {
    /// Opens a database at its newest valid meta page. `size` is the file's size, for the error only.
    pub(super) fn open(read: ReadAt<'a>, size: u64) -> Result<Bolt<'a>, Unreadable> {
        let first = Meta::at(read, 0);
        // Without the first meta page the page size is unknown. Like bolt, try the powers of two from 1 KiB to 32 MiB.
        let second = match first {
            Some(meta) => Meta::at(read, meta.page_size as u64),
            None => (10..=25).find_map(|power| Meta::at(read, 1 << power)),
        };
        let newest = [first, second].into_iter().flatten().max_by_key(|meta| meta.transaction);
        let meta = newest.ok_or(Unreadable::NotBolt { size })?;
        Ok(Bolt { read, meta })
    }

    fn page(&self, number: u64) -> Result<Page, Unreadable> {
        let broken = |problem| Unreadable::Page { page: number, problem };
        let missing = || broken("is after the end");
        if number >= self.meta.page_limit {
            return Err(missing());
        }
        let size = self.meta.page_size;
        let start = number.checked_mul(size as u64).ok_or_else(missing)?;
        let header = (self.read)(start, PAGE_HEADER).ok_or_else(missing)?;
        if u64_at(&header, 0) != Some(number) {
            return Err(broken("has the number of another page"));
        }
        let overflow = u32_at(&header, 12).and_then(|pages| usize::try_from(pages).ok()?.checked_add(1));
        let length = overflow.and_then(|pages| pages.checked_mul(size)).ok_or_else(missing)?;
        if length > MAX_PAGE_LENGTH {
            return Err(broken("is longer than any page of the agent's metadata"));
        }
        Page::new(number, (self.read)(start, length).ok_or_else(missing)?)
    }

    /// The root page of a bucket of the top level; `None` if there is no such bucket.
    pub(super) fn bucket(&self, name: &[u8]) -> Result<Option<Page>, Unreadable> {
        let Some(entry) = self.find(&self.page(self.meta.root)?, name)?.filter(|entry| entry.is_bucket) else {
            return Ok(None);
        };
        let cut = Unreadable::Page { page: entry.page, problem: "has a truncated bucket" };
        match (u64_at(&entry.value, 0), entry.value.get(BUCKET_HEADER..)) {
            // A small bucket is stored inline: the value contains its page.
            (Some(0), Some(inline)) => Page::new(entry.page, inline.to_vec()).map(Some),
            (Some(root), Some(_)) => self.page(root).map(Some),
            _ => Err(cut),
        }
    }

    /// The value of a key; `None` if the key is absent or a bucket.
    pub(super) fn value(&self, bucket: &Page, key: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        Ok(self.find(bucket, key)?.filter(|entry| !entry.is_bucket).map(|entry| entry.value))
    }

    fn find(&self, root: &Page, key: &[u8]) -> Result<Option<LeafEntry>, Unreadable> {
        let mut below: Option<Page> = None;
        for _ in 0..DEPTH {
            let page = below.as_ref().unwrap_or(root);
            if page.is_leaf {
                return page.entry(key);
            }
            below = Some(self.page(page.child(key)?)?);
        }
        Err(below.as_ref().unwrap_or(root).broken("is deeper than the maximum depth of a tree"))
    }
}

impl Page {
    fn new(number: u64, bytes: Vec<u8>) -> Result<Page, Unreadable> {
        let broken = |problem| Unreadable::Page { page: number, problem };
        let header = u16_at(&bytes, 8).zip(u16_at(&bytes, 10));
        let (flags, count) = header.ok_or_else(|| broken("is truncated"))?;
        let is_leaf = match flags {
            0x01 => false,
            0x02 => true,
            _ => return Err(broken("is neither a branch nor a leaf")),
        };
        Ok(Page { number, bytes, is_leaf, count: usize::from(count) })
    }

    fn broken(&self, problem: &'static str) -> Unreadable {
        Unreadable::Page { page: self.number, problem }
    }

    /// The entry of a leaf with this key. All entries are checked, so that a damaged leaf is not mistaken for one
    /// without the key.
    fn entry(&self, wanted: &[u8]) -> Result<Option<LeafEntry>, Unreadable> {
        let mut found = None;
        for index in 0..self.count {
            let (is_bucket, key, value) =
                self.leaf_element(index).ok_or_else(|| self.broken("has an entry that ends outside of it"))?;
            if key == wanted {
                found = Some((is_bucket, value));
            }
        }
        Ok(found.map(|(is_bucket, value)| LeafEntry { is_bucket, value: value.to_vec(), page: self.number }))
    }

    /// The number of the child page that can contain the key: the last one whose first key is not greater.
    fn child(&self, wanted: &[u8]) -> Result<u64, Unreadable> {
        let mut child = None;
        for index in 0..self.count {
            let (key, number) =
                self.branch_element(index).ok_or_else(|| self.broken("has a branch that ends outside of it"))?;
            if key <= wanted || child.is_none() {
                child = Some(number);
            }
        }
        child.ok_or_else(|| self.broken("is a branch without a child"))
    }

    /// Whether the element is a bucket, its key and its value.
    fn leaf_element(&self, index: usize) -> Option<(bool, &[u8], &[u8])> {
        let at = PAGE_HEADER + index * ELEMENT;
        let [flags, position, key_size, value_size] = [0, 4, 8, 12].map(|field| u32_at(&self.bytes, at + field));
        let key_start = at.checked_add(usize::try_from(position?).ok()?)?;
        let key = part(&self.bytes, key_start, key_size?)?;
        let value = part(&self.bytes, key_start.checked_add(key.len())?, value_size?)?;
        Some((flags? & 1 != 0, key, value))
    }

    fn branch_element(&self, index: usize) -> Option<(&[u8], u64)> {
        let at = PAGE_HEADER + index * ELEMENT;
        let key_start = at.checked_add(usize::try_from(u32_at(&self.bytes, at)?).ok()?)?;
        Some((part(&self.bytes, key_start, u32_at(&self.bytes, at + 4)?)?, u64_at(&self.bytes, at + 8)?))
    }
}

fn part(bytes: &[u8], start: usize, length: u32) -> Option<&[u8]> {
    bytes.get(start..)?.get(..usize::try_from(length).ok()?)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// FNV-1a of 64 bits, the checksum of a meta page.
fn fnv64a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A leaf page, written from the description of the format. An element is flags, position, key size, value size.
    pub(in super::super) fn leaf(number: u64, entries: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
        let mut page = header(number, 0x02, entries.len());
        let mut position = 16 * entries.len();
        for (index, (flags, key, value)) in entries.iter().enumerate() {
            let from_element = position - 16 * index;
            for field in [*flags as usize, from_element, key.len(), value.len()] {
                page.extend((field as u32).to_le_bytes());
            }
            position += key.len() + value.len();
        }
        entries.iter().for_each(|(_, key, value)| page.extend([*key, *value].concat()));
        page
    }

    /// A branch page. An element is position, key size, page.
    pub(in super::super) fn branch(number: u64, children: &[(&[u8], u64)]) -> Vec<u8> {
        let mut page = header(number, 0x01, children.len());
        let mut position = 16 * children.len();
        for (index, (key, child)) in children.iter().enumerate() {
            page.extend(((position - 16 * index) as u32).to_le_bytes());
            page.extend((key.len() as u32).to_le_bytes());
            page.extend(child.to_le_bytes());
            position += key.len();
        }
        children.iter().for_each(|(key, _)| page.extend(*key));
        page
    }

    /// A bucket's value in its parent: the root page, a sequence number, and for root 0 the inline page.
    pub(in super::super) fn bucket(root: u64, inline: &[u8]) -> Vec<u8> {
        [&root.to_le_bytes()[..], &[0; 8], inline].concat()
    }

    fn header(number: u64, flags: u16, count: usize) -> Vec<u8> {
        let count = u16::try_from(count).unwrap();
        [&number.to_le_bytes()[..], &flags.to_le_bytes(), &count.to_le_bytes(), &[0; 4]].concat()
    }

    fn meta(number: u64, page_size: usize, root: u64, page_limit: u64, transaction: u64) -> Vec<u8> {
        let fixed: Vec<u8> =
            [0xED0C_DAED, 2, page_size as u32, 0].into_iter().flat_map(|field: u32| field.to_le_bytes()).collect();
        let wide: Vec<u8> =
            [root, 0, 2, page_limit, transaction].into_iter().flat_map(|field: u64| field.to_le_bytes()).collect();
        let summed = [fixed, wide].concat();
        let checksum = fnv64a(&summed).to_le_bytes();
        [header(number, 0x04, 0), summed, checksum.to_vec()].concat()
    }

    /// A database with these pages from number 3 on. The root is page 3; the root of an older transaction is page 2.
    pub(in super::super) fn database(page_size: usize, pages: &[Vec<u8>]) -> Vec<u8> {
        let limit = 3 + pages.len() as u64;
        let first = [meta(0, page_size, 2, limit, 4), meta(1, page_size, 3, limit, 5), leaf(2, &[])];
        let padded = first.iter().chain(pages).flat_map(|page| {
            assert!(page.len() <= page_size, "a page of {} bytes", page.len());
            page.iter().copied().chain(std::iter::repeat_n(0, page_size - page.len()))
        });
        padded.collect()
    }

    fn value(file: &[u8], name: &str, key: &str) -> Result<Option<Vec<u8>>, Unreadable> {
        let read = super::super::in_memory(file);
        let file = Bolt::open(&read, file.len() as u64)?;
        let Some(bucket) = file.bucket(name.as_bytes())? else { return Ok(None) };
        file.value(&bucket, key.as_bytes())
    }

    fn one_value(page_size: usize) -> Vec<u8> {
        let inline = leaf(0, &[(0, b"k", b"new")]);
        database(page_size, &[leaf(3, &[(1, b"b", &bucket(0, &inline))])])
    }

    fn problem(file: &[u8]) -> (u64, &'static str) {
        match value(file, "b", "k") {
            Err(Unreadable::Page { page, problem }) => (page, problem),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn matches_the_published_vectors_of_fnv() {
        assert_eq!(fnv64a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv64a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv64a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn reads_an_inline_bucket_in_pages_of_any_size() {
        for page_size in [512, 1024, 4096, 16384, 65536] {
            assert_eq!(value(&one_value(page_size), "b", "k"), Ok(Some(b"new".to_vec())), "{page_size}");
        }
    }

    #[test]
    fn descends_through_branches_to_the_bucket_and_to_the_key() {
        let file = database(
            1024,
            &[
                branch(3, &[(b"a", 4), (b"b", 5)]),
                leaf(4, &[(1, b"a", &bucket(9, &[]))]),
                leaf(5, &[(1, b"b", &bucket(6, &[])), (1, b"c", &bucket(9, &[]))]),
                branch(6, &[(b"d", 7), (b"k", 8), (b"l", 9)]),
                leaf(7, &[(0, b"d", b"left")]),
                leaf(8, &[(0, b"k", b"here"), (0, b"kk", b"next")]),
                leaf(9, &[]),
            ],
        );
        let text = |key| value(&file, "b", key).unwrap().map(|value| String::from_utf8(value).unwrap());
        assert_eq!(text("k").as_deref(), Some("here"));
        assert_eq!(text("d").as_deref(), Some("left"));
        assert_eq!(text("a"), None);
        assert_eq!(text("zz"), None);
        assert_eq!(value(&file, "nothing", "k"), Ok(None));
    }

    #[test]
    fn reads_a_page_with_overflow_pages() {
        let long = vec![b'x'; 1500];
        let mut large = leaf(4, &[(0, b"k", &long)]);
        large[12] = 1;
        let rest = large.split_off(1024);
        let file = database(1024, &[leaf(3, &[(1, b"b", &bucket(4, &[]))]), large, rest]);
        assert_eq!(value(&file, "b", "k"), Ok(Some(long)));
    }

    #[test]
    fn distinguishes_buckets_and_values() {
        let inline = leaf(0, &[(1, b"k", &bucket(0, &[]))]);
        let file = database(1024, &[leaf(3, &[(0, b"a", b"text"), (1, b"b", &bucket(0, &inline))])]);
        assert_eq!(value(&file, "a", "k"), Ok(None));
        assert_eq!(value(&file, "b", "k"), Ok(None));
    }

    #[test]
    fn falls_back_to_the_older_meta_page_if_the_newer_is_damaged() {
        let mut file = one_value(1024);
        file[1024 + 16 + 20] ^= 1;
        assert_eq!(value(&file, "b", "k"), Ok(None), "the older transaction had no bucket");
    }

    #[test]
    fn finds_the_second_meta_page_without_the_first() {
        for page_size in [1024, 4096, 65536] {
            let mut file = one_value(page_size);
            file[..80].fill(0);
            assert_eq!(value(&file, "b", "k"), Ok(Some(b"new".to_vec())), "{page_size}");
        }
    }

    #[test]
    fn rejects_a_file_without_a_valid_meta_page() {
        let mut both_torn = one_value(1024);
        both_torn[30] ^= 1;
        both_torn[1024 + 30] ^= 1;
        for file in [both_torn, vec![0; 8192], b"SQLite format 3".to_vec(), vec![1]] {
            assert_eq!(value(&file, "b", "k"), Err(Unreadable::NotBolt { size: file.len() as u64 }));
        }
    }

    #[test]
    fn names_the_damaged_page() {
        let root = |value: &[u8]| leaf(3, &[(1, b"b", value)]);
        let cut = one_value(1024)[..3 * 1024 + 10].to_vec();
        assert_eq!(problem(&cut), (3, "is after the end"));
        assert_eq!(problem(&database(1024, &[root(&bucket(77, &[]))])), (77, "is after the end"));
        assert_eq!(problem(&database(1024, &[root(&bucket(u64::MAX, &[]))])), (u64::MAX, "is after the end"));
        assert_eq!(problem(&database(1024, &[root(&bucket(1, &[]))])), (1, "is neither a branch nor a leaf"));
        assert_eq!(
            problem(&database(1024, &[root(&bucket(4, &[])), leaf(9, &[])])),
            (4, "has the number of another page")
        );
        assert_eq!(problem(&database(1024, &[root(&[0; 15])])), (3, "has a truncated bucket"));
        assert_eq!(problem(&database(1024, &[root(&bucket(0, &[]))])), (3, "is truncated"));
        assert_eq!(problem(&database(1024, &[branch(3, &[])])), (3, "is a branch without a child"));
        let mut long_entry = database(1024, &[root(&bucket(0, &leaf(0, &[])))]);
        long_entry[3 * 1024 + 16 + 8..][..4].fill(0xff);
        assert_eq!(problem(&long_entry), (3, "has an entry that ends outside of it"));
        let mut many_children = branch(3, &[(b"b", 3)]);
        many_children[10..12].fill(0xff);
        assert_eq!(problem(&database(1024, &[many_children])), (3, "has a branch that ends outside of it"));
    }

    #[test]
    fn a_page_is_read_within_a_limit() {
        let mut endless = leaf(4, &[]);
        endless[12..16].fill(0xff);
        let file = database(1024, &[leaf(3, &[(1, b"b", &bucket(4, &[]))]), endless]);
        assert_eq!(problem(&file), (4, "is longer than any page of the agent's metadata"));
    }

    #[test]
    fn ends_if_branches_have_a_cycle() {
        let circle = database(1024, &[branch(3, &[(b"a", 4)]), branch(4, &[(b"a", 3)])]);
        assert_eq!(problem(&circle), (3, "is deeper than the maximum depth of a tree"));
    }
}
