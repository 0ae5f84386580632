import Glibc

/// Disk space that is kept for the metadata: a file beside the store that is given up when the disk is full, so that
/// topics can still be deleted and changed, and made again when there is room. Used by one thread.
struct DiskReserve {
    /// Bytes. A change of the metadata takes some kilobytes.
    static let size: Int64 = 4 << 20
    /// With less than this a change might fail.
    private static let needed: Int64 = 1 << 20

    private let path: String
    private let folder: String
    private(set) var isHeld = false

    /// - Parameter store: the path of the store's file.
    init(store: String) {
        self.path = store + "-reserve"
        self.folder = store.lastIndex(of: "/").map { String(store[..<$0]) } ?? "."
    }

    /// To be called before each change.
    mutating func prepare() {
        guard let free = Self.freeBytes(self.folder) else { return }
        if self.isHeld {
            guard free < Self.needed else { return }
            unlink(self.path)
            self.isHeld = false
        } else if free > 3 * Self.size {
            self.make()
        }
    }

    private mutating func make() {
        let file = open(self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard file >= 0 else { return }
        self.isHeld = posix_fallocate(file, 0, off_t(Self.size)) == 0
        close(file)
        if !self.isHeld { unlink(self.path) }
    }

    private static func freeBytes(_ path: String) -> Int64? {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { return nil }
        return Int64(
            clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
    }
}
