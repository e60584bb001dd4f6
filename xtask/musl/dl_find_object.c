/* What Debian's libgcc_eh asks glibc for, to find the unwind tables of an address. musl has no such
 * function; where nothing is found, unwinding ends. The plugin aborts on a panic, so that no more
 * than the lines of a backtrace are missed. */
int _dl_find_object(void *address, void *result)
{
    (void)address;
    (void)result;
    return -1;
}
