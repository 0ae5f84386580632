import Glibc

/// A system call on a file failed.
package struct IOError: Error, Hashable, Sendable, CustomStringConvertible {
    /// errno.
    package let code: CInt
    /// The call, as "open".
    package let call: StaticCall
    /// The file, or "" where only its descriptor is at hand.
    package let path: String

    package enum StaticCall: String, Sendable {
        case open, read, write, sync, truncate, rename, unlink, mkdir, rmdir, list, stat, lock, allocate, thread
    }

    package init(_ call: StaticCall, _ path: String = "", code: CInt = errno) {
        self.code = code
        self.call = call
        self.path = path
    }

    package var description: String {
        let reason = String(cString: strerror(self.code))
        return self.path.isEmpty ? "\(self.call.rawValue): \(reason)" : "\(self.call.rawValue) \(self.path): \(reason)"
    }
}

/// What the log does with files. Nothing else in this module does anything with one, and this does it through
/// `SystemCalls` alone: real ones, or those of a simulated disk in the build of `script/simulate`.
package enum FileSystem {
    enum Mode { case read, readWrite, create, createNew }

    // MARK: open files

    static func open(_ path: String, _ mode: Mode) throws(IOError) -> LogFile {
        var flags = O_CLOEXEC
        switch mode {
        case .read: flags |= O_RDONLY
        case .readWrite: flags |= O_RDWR
        case .create: flags |= O_RDWR | O_CREAT
        case .createNew: flags |= O_RDWR | O_CREAT | O_EXCL
        }
        let descriptor = SystemCalls.open(path, flags, 0o644)
        guard descriptor >= 0 else { throw IOError(.open, path) }
        return LogFile(fd: descriptor)
    }

    @inline(__always) static func close(_ fd: CInt) { SystemCalls.close(fd) }

    /// Writes all of `bytes` at `position`. On an error some may have been written.
    static func writeAll(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at position: Int) throws(IOError) {
        var done = 0
        while done < bytes.count {
            let count = SystemCalls.pwrite(
                file.fd, bytes.baseAddress! + done, bytes.count - done, Int64(position + done))
            if count > 0 {
                done += count
            } else if count == 0 {
                throw IOError(.write, code: ENOSPC)
            } else if errno != EINTR {
                throw IOError(.write)
            }
        }
    }

    /// Reads until `bytes` is full or the file ends; the number of bytes read.
    static func read(_ file: LogFile, _ bytes: UnsafeMutableRawBufferPointer, at position: Int) throws(IOError) -> Int {
        var done = 0
        while done < bytes.count {
            let count = SystemCalls.pread(
                file.fd, bytes.baseAddress! + done, bytes.count - done, Int64(position + done))
            if count > 0 {
                done += count
            } else if count == 0 {
                break
            } else if errno != EINTR {
                throw IOError(.read)
            }
        }
        return done
    }

    static func size(_ file: LogFile) throws(IOError) -> Int {
        let size = SystemCalls.size(file.fd)
        guard size >= 0 else { throw IOError(.stat) }
        return Int(size)
    }

    static func truncate(_ file: LogFile, to size: Int) throws(IOError) {
        while SystemCalls.ftruncate(file.fd, Int64(size)) != 0 {
            if errno != EINTR { throw IOError(.truncate) }
        }
    }

    static func syncData(_ file: LogFile) throws(IOError) {
        guard SystemCalls.fdatasync(file.fd) == 0 else { throw self.syncFailed(file) }
    }

    static func sync(_ file: LogFile) throws(IOError) {
        guard SystemCalls.fsync(file.fd) == 0 else { throw self.syncFailed(file) }
    }

    /// The kernel tells of an error once, and takes the pages that it could not write for clean: whoever reads them next,
    /// another start of the same boot maybe, must see what the disk has, or he would believe what no sync brings there.
    private static func syncFailed(_ file: LogFile) -> IOError {
        let error = IOError(.sync)
        self.dropCache(file)
        return error
    }

    /// Starts to write dirty pages out, does not wait for them. A hint: errors are left to the next sync.
    static func startWriteback(_ file: LogFile, at position: Int, count: Int) {
        SystemCalls.startWriteback(file.fd, Int64(position), Int64(count))
    }

    /// Drops clean pages of a file. A hint.
    static func dropCache(_ file: LogFile) {
        SystemCalls.dropCache(file.fd)
    }

    /// What is to be read from it comes in order. A hint.
    static func adviseSequential(_ file: LogFile) { SystemCalls.adviseSequential(file.fd) }

    /// Sets the time of the last change, wall clock, ms. A hint.
    static func setModified(_ file: LogFile, ms: Int64) { SystemCalls.setModified(file.fd, ms) }

    /// Reserves blocks without changing the size. A hint too.
    static func reserve(_ file: LogFile, count: Int) {
        SystemCalls.reserve(file.fd, Int64(count))
    }

    /// An exclusive lock over the file, dropped with its descriptor. False where somebody holds one.
    static func lock(_ file: LogFile, path: String) throws(IOError) -> Bool {
        if SystemCalls.lock(file.fd) == 0 { return true }
        if errno == EAGAIN || errno == EACCES { return false }
        throw IOError(.lock, path)
    }

    // MARK: paths

    struct Status {
        var size: Int
        var modifiedMs: Int64
        var isDirectory: Bool
    }

    /// Nil where there is no such file.
    static func status(_ path: String) throws(IOError) -> Status? {
        var status = Status(size: 0, modifiedMs: 0, isDirectory: false)
        guard SystemCalls.stat(path, &status) == 0 else {
            if errno == ENOENT { return nil }
            throw IOError(.stat, path)
        }
        return status
    }

    /// Where that cannot be found out it is an error, and no answer.
    static func exists(_ path: String) throws(IOError) -> Bool {
        if SystemCalls.access(path, F_OK) == 0 { return true }
        guard errno == ENOENT || errno == ENOTDIR || errno == EACCES else { throw IOError(.stat, path) }
        return false
    }

    static func isWritable(_ path: String) -> Bool { SystemCalls.access(path, W_OK | X_OK) == 0 }

    /// Names in a folder without "." and "..", in no order.
    static func list(_ path: String) throws(IOError) -> [String] {
        var names: [String] = []
        guard SystemCalls.list(path, &names) == 0 else { throw IOError(.list, path) }
        return names
    }

    static func makeDirectory(_ path: String) throws(IOError) {
        guard SystemCalls.mkdir(path, 0o755) == 0 || errno == EEXIST else { throw IOError(.mkdir, path) }
    }

    /// Makes a folder and those above it that are missing. Their names are on disk when it returns.
    static func makeDirectories(_ path: String) throws(IOError) {
        var made = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            made += made.isEmpty || made.hasSuffix("/") ? String(part) : "/" + part
            if try !self.exists(made) {
                try self.makeDirectory(made)
                try self.syncDirectory(self.parent(of: made))
            }
        }
    }

    static func rename(_ from: String, to: String) throws(IOError) {
        guard SystemCalls.rename(from, to) == 0 else { throw IOError(.rename, from) }
    }

    /// A file that is already gone is no error.
    static func unlink(_ path: String) throws(IOError) {
        guard SystemCalls.unlink(path) == 0 || errno == ENOENT else { throw IOError(.unlink, path) }
    }

    /// Deletes a folder with the files in it (folders of the log are one level deep).
    static func removeDirectory(_ path: String) throws(IOError) {
        let names: [String]
        do throws(IOError) { names = try self.list(path) } catch {
            if error.code == ENOENT { return }
            throw error
        }
        for name in names { try self.unlink(path + "/" + name) }
        guard SystemCalls.rmdir(path) == 0 || errno == ENOENT else { throw IOError(.rmdir, path) }
    }

    /// Everything of the file system that a folder is on, whoever wrote it.
    static func syncFileSystem(of path: String) throws(IOError) {
        let descriptor = SystemCalls.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw IOError(.open, path) }
        let folder = LogFile(fd: descriptor)
        guard SystemCalls.syncfs(folder.fd) == 0 else { throw IOError(.sync, path) }
    }

    /// How many files the process may have open.
    static var fileLimit: Int { SystemCalls.fileLimit }

    static func syncDirectory(_ path: String) throws(IOError) {
        let descriptor = SystemCalls.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw IOError(.open, path) }
        try self.sync(LogFile(fd: descriptor))
    }

    // MARK: small files, whole

    /// The bytes of a small file; nil where there is none. Longer than `limit` is an error (EFBIG).
    static func contents(_ path: String, limit: Int = 1 << 28) throws(IOError) -> [UInt8]? {
        let file: LogFile
        do throws(IOError) { file = try self.open(path, .read) } catch {
            if error.code == ENOENT { return nil }
            throw error
        }
        let hint = try self.size(file)
        guard hint <= limit else { throw IOError(.read, path, code: EFBIG) }
        // Files of /proc have size 0: read until nothing comes.
        var room = max(4096, hint)
        var bytes: [UInt8] = []
        while true {
            let start = bytes.count
            // Straight to its place: a file may have tens of megabytes.
            let some = try self.chunk(file, at: start, size: room)
            if some.isEmpty { return bytes }
            if bytes.isEmpty { bytes = some } else { bytes += some }
            if bytes.count > limit { throw IOError(.read, path, code: EFBIG) }
            if some.count < room { return bytes }
            room = max(4096, hint - bytes.count)
        }
    }

    private static func chunk(_ file: LogFile, at position: Int, size: Int) throws(IOError) -> [UInt8] {
        var failure: IOError?
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
            do throws(IOError) {
                count = try self.read(file, UnsafeMutableRawBufferPointer(buffer), at: position)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }

    static func readInto(_ buffer: inout [UInt8], _ file: LogFile, at position: Int) throws(IOError) -> Int {
        let result = buffer.withUnsafeMutableBytes { bytes in
            Result<Int, IOError> { () throws(IOError) in try self.read(file, bytes, at: position) }
        }
        return try result.get()
    }

    static func writeAll(_ file: LogFile, _ array: [UInt8], at position: Int) throws(IOError) {
        let result = array.withUnsafeBytes { bytes in
            Result<Void, IOError> { () throws(IOError) in try self.writeAll(file, bytes, at: position) }
        }
        try result.get()
    }

    /// Replaces a small file in one step: a temporary one beside it is written and renamed over it. With `durable` it is
    /// synced before, and the folder after, so that a power cut leaves the old or the new one.
    static func replace(_ path: String, with bytes: [UInt8], durable: Bool) throws(IOError) {
        let temporary = path + ".tmp"
        try self.unlink(temporary)
        let file = try self.open(temporary, .create)
        do throws(IOError) {
            try self.writeAll(file, bytes, at: 0)
            if durable { try self.sync(file) }
            try self.rename(temporary, to: path)
        } catch {
            try? self.unlink(temporary)
            throw IOError(error.call, path, code: error.code)
        }
        if durable { try self.syncDirectory(self.parent(of: path)) }
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Bytes of the file system that a path is on, and those of them that may still be used.
    static func space(of path: String) throws(IOError) -> (total: Int64, usable: Int64) {
        #if OTTLA_SIMULATED_FILES
            return (1 << 40, 1 << 39)
        #else
            var status = statvfs()
            guard statvfs(path, &status) == 0 else { throw IOError(.stat, path) }
            let size = UInt64(status.f_frsize)
            return (
                Int64(clamping: UInt64(status.f_blocks).multipliedReportingOverflow(by: size).partialValue),
                Int64(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: size).partialValue)
            )
        #endif
    }

    /// Random bytes of the kernel, for ids.
    static func random64() -> UInt64 {
        SystemCalls.random64()
    }

    /// The kernel's id of this boot; "" where it is not told.
    static func bootID() -> String {
        SystemCalls.bootID()
    }
}

/// Milliseconds since 1970.
package func wallClockMs() -> Int64 { SystemCalls.wallMs() }
