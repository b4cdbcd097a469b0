# The addon `tuntap2`. `node-gyp rebuild -- -Dsanitize=true` builds it with AddressSanitizer and
# UndefinedBehaviorSanitizer; such a build loads only into a node started with libasan preloaded.
{
  'variables': { 'sanitize%': 'false' },
  'targets': [
    {
      'target_name': 'tuntap2',
      'sources': [
        'src/addon.cc',
        'src/batch_io.cc',
        'src/descriptors.cc',
        'src/huge_pages.cc',
        'src/link.cc',
        'src/network_watch.cc',
        'src/poll.cc',
        'src/rtnetlink.cc',
        'src/tun.cc',
        'src/udp.cc',
        'src/udp_batch.cc',
        'src/raw_packet.cc',
        'src/unix_datagram.cc',
      ],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      # SWALLOW_UNTHROWABLE: what cannot be thrown into a worker that is being terminated must not end the process.
      'defines': [
        'NAPI_VERSION=8',
        'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
      ],
      'cflags!': ['-O3'],
      'cflags_cc!': ['-O3', '-std=gnu++20'],
      'cflags_cc': ['-std=c++17', '-O2', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
      'conditions': [
        [
          'sanitize=="true"',
          {
            'cflags_cc': ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
            'ldflags': ['-fsanitize=address,undefined'],
          },
        ],
      ],
    },
  ],
}
