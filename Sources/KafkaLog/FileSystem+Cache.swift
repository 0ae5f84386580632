import COttla
import Glibc

/// What the page cache has of a file. The simulated disk has no such thing: there all is in memory.
extension FileSystem {
    /// As `read`, of what is in the page cache.
    /// - Parameter least: with fewer bytes, unless the file ends there, it is an error: EAGAIN.
    static func readNow(
        _ file: LogFile, _ bytes: UnsafeMutableRawBufferPointer, at position: Int, atLeast least: Int
    ) throws(IOError) -> Int {
        #if OTTLA_SIMULATED_FILES
            return try self.read(file, bytes, at: position)
        #else
            var done = 0
            while done < bytes.count {
                let count = ottla_pread_now(
                    file.fd, bytes.baseAddress! + done, bytes.count - done, Int64(position + done))
                if count > 0 {
                    done += count
                } else if count == 0 {
                    return done
                } else if errno == EAGAIN {
                    if done >= least { return done }
                    throw IOError(.read, code: EAGAIN)
                } else if errno != EINTR {
                    throw IOError(.read)
                }
            }
            return done
        #endif
    }

    /// Whether all of a range is in the page cache.
    /// - Parameter isSettled: what is on its way into it counts as not there.
    static func isResident(_ file: LogFile, at position: Int, count: Int, isSettled: Bool = false) -> Bool {
        #if OTTLA_SIMULATED_FILES
            return true
        #else
            return ottla_is_resident(file.fd, Int64(position), Int64(count), isSettled ? 1 : 0) != 0
        #endif
    }

    enum Advice: CInt {
        /// Nothing is read ahead by the kernel.
        case random = 0
        case willNeed, notNeeded
    }

    /// A hint.
    static func advise(_ file: LogFile, _ advice: Advice, at position: Int = 0, count: Int = 0) {
        #if !OTTLA_SIMULATED_FILES
            ottla_advise(file.fd, Int64(position), Int64(count), advice.rawValue)
        #endif
    }
}
