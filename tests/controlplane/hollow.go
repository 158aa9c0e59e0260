package main

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	remote "k8s.io/cri-client/pkg"
	"k8s.io/cri-client/pkg/fake"
	"k8s.io/klog/v2"
	cadvisor "k8s.io/kubernetes/pkg/kubelet/cadvisor/testing"
	"k8s.io/kubernetes/pkg/kubelet/cm"
	"k8s.io/kubernetes/pkg/kubelet/server"
	"k8s.io/kubernetes/pkg/kubemark"
)

// hollowKubelet is Kubernetes' kubelet with a container runtime that only pretends, as kubemark has it, and, unlike
// kubemark's, with TLS.
func hollowKubelet() *cobra.Command {
	var name, kubeconfig, address, certificate, key string
	var labels map[string]string
	var lease int32
	command := &cobra.Command{Use: "hollow-kubelet", Args: cobra.NoArgs, RunE: func(command *cobra.Command, _ []string) error {
		ctx := context.Background()
		access, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		access.QPS = -1
		client, err := kubernetes.NewForConfig(access)
		if err != nil {
			return err
		}
		access.Timeout = time.Duration(lease) * time.Second / 4
		heartbeats, err := kubernetes.NewForConfig(access)
		if err != nil {
			return err
		}
		endpoint, err := fake.GenerateEndpoint()
		if err != nil {
			return err
		}
		pretended := fake.NewFakeRemoteRuntime()
		if err := pretended.Start(endpoint); err != nil {
			return err
		}
		runtime, err := remote.NewRemoteRuntimeServiceBuilder().WithEndpoint(endpoint).WithConnectionTimeout(15 * time.Second).Build(ctx)
		if err != nil {
			return err
		}
		flags, config := kubemark.GetHollowKubeletConfig(&kubemark.HollowKubeletOptions{
			NodeName: name, KubeletPort: 10250, MaxPods: 110, NodeLabels: labels,
		})
		flags.NodeIP = address
		config.NodeLeaseDurationSeconds = lease
		hollow := kubemark.NewHollowKubelet(flags, config, client, heartbeats, &cadvisor.Fake{NodeName: name},
			pretended.ImageService, runtime, cm.NewStubContainerManager())
		hollow.KubeletDeps.TLSOptions = &server.TLSOptions{
			MinVersion: tls.VersionTLS12, CertFile: certificate, KeyFile: key,
		}
		klog.Infof("hollow kubelet %s", name)
		hollow.Run(ctx)
		return nil
	}}
	flags := command.Flags()
	flags.StringVar(&name, "name", "", "the node's name")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	flags.StringVar(&address, "address", "", "the node's address")
	flags.StringVar(&certificate, "certificate", "", "shown to clients")
	flags.StringVar(&key, "key", "", "its private key")
	flags.StringToStringVar(&labels, "labels", nil, "of the node")
	flags.Int32Var(&lease, "lease", 40, "seconds of the node's Lease")
	return command
}
