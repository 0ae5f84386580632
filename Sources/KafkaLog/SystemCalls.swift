#if !OTTLA_SIMULATED_FILES
    import COttla
    import Glibc

    /// The system calls that the log makes, one line each: 0 or what the call gives, -1 and errno where it failed.
    ///
    /// Static functions that are inlined into the helpers of `FileSystem`: a build knows no other than these. The build
    /// folder of `script/simulate`, and no other, is compiled with OTTLA_SIMULATED_FILES and has those of
    /// `SystemCalls+Simulated.swift` in their place.
    enum SystemCalls {
        // MARK: open files

        @inline(__always) static func open(_ path: String, _ flags: CInt, _ mode: UInt32) -> CInt {
            ottla_open(path, flags, mode)
        }

        @inline(__always) static func close(_ fd: CInt) { _ = Glibc.close(fd) }

        @inline(__always) static func pwrite(
            _ fd: CInt, _ bytes: UnsafeRawPointer, _ count: Int, _ position: Int64
        ) -> Int { Glibc.pwrite(fd, bytes, count, off_t(position)) }

        @inline(__always) static func pread(
            _ fd: CInt, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ position: Int64
        ) -> Int { Glibc.pread(fd, bytes, count, off_t(position)) }

        @inline(__always) static func size(_ fd: CInt) -> Int64 { ottla_file_size(fd) }

        @inline(__always) static func ftruncate(_ fd: CInt, _ size: Int64) -> CInt {
            Glibc.ftruncate(fd, off_t(size))
        }

        @inline(__always) static func fdatasync(_ fd: CInt) -> CInt { Glibc.fdatasync(fd) }

        @inline(__always) static func fsync(_ fd: CInt) -> CInt { Glibc.fsync(fd) }

        @inline(__always) static func startWriteback(_ fd: CInt, _ position: Int64, _ count: Int64) {
            _ = ottla_start_writeback(fd, position, count)
        }

        @inline(__always) static func dropCache(_ fd: CInt) { _ = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) }

        @inline(__always) static func adviseSequential(_ fd: CInt) {
            _ = posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)
        }

        @inline(__always) static func setModified(_ fd: CInt, _ ms: Int64) {
            let time = timespec(tv_sec: Int(ms / 1000), tv_nsec: Int(ms % 1000) * 1_000_000)
            withUnsafeTemporaryAllocation(of: timespec.self, capacity: 2) { times in
                times.initialize(repeating: time)
                _ = futimens(fd, times.baseAddress)
            }
        }

        @inline(__always) static func reserve(_ fd: CInt, _ count: Int64) { _ = ottla_fallocate(fd, 1, 0, count) }

        @inline(__always) static func lock(_ fd: CInt) -> CInt { ottla_lock_file(fd) }

        @inline(__always) static func syncfs(_ fd: CInt) -> CInt { ottla_sync_file_system(fd) }

        // MARK: paths

        @inline(__always) static func stat(_ path: String, _ status: inout FileSystem.Status) -> CInt {
            var size: Int64 = 0
            var modified: Int64 = 0
            var isDirectory: CInt = 0
            guard ottla_stat(path, &size, &modified, &isDirectory) == 0 else { return -1 }
            status = FileSystem.Status(size: Int(size), modifiedMs: modified, isDirectory: isDirectory != 0)
            return 0
        }

        @inline(__always) static func access(_ path: String, _ mode: CInt) -> CInt { Glibc.access(path, mode) }

        /// Adds the names in a folder, without "." and "..".
        static func list(_ path: String, _ names: inout [String]) -> CInt {
            guard let directory = opendir(path) else { return -1 }
            defer {
                let error = errno
                closedir(directory)
                errno = error
            }
            while true {
                errno = 0
                guard let entry = readdir(directory) else { return errno == 0 ? 0 : -1 }
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name != "." && name != ".." { names.append(name) }
            }
        }

        @inline(__always) static func mkdir(_ path: String, _ mode: UInt32) -> CInt { Glibc.mkdir(path, mode) }

        @inline(__always) static func rename(_ from: String, _ to: String) -> CInt { Glibc.rename(from, to) }

        @inline(__always) static func unlink(_ path: String) -> CInt { Glibc.unlink(path) }

        @inline(__always) static func rmdir(_ path: String) -> CInt { Glibc.rmdir(path) }

        // MARK: the machine

        /// How many files the process may have open.
        static var fileLimit: Int { Int(clamping: ottla_file_limit()) }

        static func random64() -> UInt64 {
            var value: UInt64 = 0
            _ = ottla_random(&value, 8)
            return value
        }

        /// The kernel's id of this boot; "" where it is not told.
        static func bootID() -> String {
            guard let bytes = try? FileSystem.contents("/proc/sys/kernel/random/boot_id", limit: 4096) else {
                return ""
            }
            return String(decoding: bytes.prefix { $0 > 32 }, as: UTF8.self)
        }

        @inline(__always) static func wallMs() -> Int64 { ottla_wall_ms() }
    }
#endif
