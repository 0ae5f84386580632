#if OTTLA_SIMULATED_FILES
    import Glibc

    /// The calls of `SystemCalls.swift`, on the simulated disk.
    enum SystemCalls {
        @inline(__always) private static var disk: SimulatedDisk { SimulatedDisk.current }

        static func open(_ path: String, _ flags: CInt, _ mode: UInt32) -> CInt {
            self.disk.open(path, flags)
        }

        static func close(_ fd: CInt) { self.disk.close(fd) }

        static func pwrite(_ fd: CInt, _ bytes: UnsafeRawPointer, _ count: Int, _ position: Int64) -> Int {
            self.disk.pwrite(fd, bytes, count, position)
        }

        static func pread(_ fd: CInt, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ position: Int64) -> Int {
            self.disk.pread(fd, bytes, count, position)
        }

        static func size(_ fd: CInt) -> Int64 { self.disk.size(fd) }

        static func ftruncate(_ fd: CInt, _ size: Int64) -> CInt { self.disk.ftruncate(fd, size) }

        static func fdatasync(_ fd: CInt) -> CInt { self.disk.fsync(fd) }

        static func fsync(_ fd: CInt) -> CInt { self.disk.fsync(fd) }

        static func startWriteback(_ fd: CInt, _ position: Int64, _ count: Int64) { self.disk.startWriteback(fd) }

        static func dropCache(_ fd: CInt) { self.disk.dropCache(fd) }

        static func adviseSequential(_ fd: CInt) {}

        static func setModified(_ fd: CInt, _ ms: Int64) {}

        static func reserve(_ fd: CInt, _ count: Int64) {}

        static func lock(_ fd: CInt) -> CInt { self.disk.lock(fd) }

        static func syncfs(_ fd: CInt) -> CInt { self.disk.syncfs(fd) }

        static func stat(_ path: String, _ status: inout FileSystem.Status) -> CInt { self.disk.stat(path, &status) }

        static func access(_ path: String, _ mode: CInt) -> CInt { self.disk.access(path) }

        static func list(_ path: String, _ names: inout [String]) -> CInt { self.disk.list(path, &names) }

        static func mkdir(_ path: String, _ mode: UInt32) -> CInt { self.disk.mkdir(path) }

        static func rename(_ from: String, _ to: String) -> CInt { self.disk.rename(from, to) }

        static func unlink(_ path: String) -> CInt { self.disk.unlink(path) }

        static func rmdir(_ path: String) -> CInt { self.disk.rmdir(path) }

        static var fileLimit: Int { 1 << 20 }

        static func random64() -> UInt64 { self.disk.random.next() }

        static func bootID() -> String { self.disk.bootID }

        static func wallMs() -> Int64 { self.disk.clock }
    }
#endif
