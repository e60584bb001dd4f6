#!/bin/busybox sh
# First process of the virtual machine: gives its interface the container's addresses, uses the network twice,
# and powers off. The test reads the lines that begin with "result".
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
. /settings
# Read when an interface comes: no wait for duplicate address detection.
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
for module in /modules/*; do
    insmod "$module"
done
ip link set lo up
ip link set eth0 up
ip address add "$OWN_V4/32" dev eth0
ip -6 address add "$OWN_V6/128" dev eth0
ip route add "$GATEWAY_V4" dev eth0
ip route add default via "$GATEWAY_V4" dev eth0
ip -6 route add default via "$GATEWAY_V6" dev eth0
sum=$(head -c 200000 /bin/busybox | md5sum)
for round in first second; do
    echo "result $round begins with $(ip neigh show dev eth0 | grep -c lladdr) neighbours"
    for there in $THERE; do
        ping -c 1 -W 5 "$there" && echo "result $round ping $there"
        echoed=$(head -c 200000 /bin/busybox | nc -w 10 "$there" "$PORT" | md5sum)
        test "$echoed" = "$sum" && echo "result $round tcp $there"
    done
    ip neigh show dev eth0 | sed "s/^/result $round neighbour /"
    ip neigh flush dev eth0
done
# stty returns when all that was written has left the serial port.
stty -echo
poweroff -f
